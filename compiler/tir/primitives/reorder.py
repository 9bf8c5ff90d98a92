"""Exchange loops."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.dependence import conflicts, has_call
from tilewright.compiler.tir.primitives.loops import ScheduleError, find_loop, replace_stmt
from tilewright.compiler.tir.visit import variables_of
from tilewright.isa.ir import For, Function, Stmt


def reorder(function: Function, *order: str) -> Function:
    """Put perfectly nested loops into another order.

    Before::

        for i in range(2):
          for j in range(3):
            y[i, j] = x[i, j]

    After `reorder(f, "j", "i")`::

        for j in range(3):
          for i in range(2):
            y[i, j] = x[i, j]

    Parameters
    ----------
    function : Function
    *order : str
        The loops, the new outermost first. Loops of the nest between them keep their places.

    Raises
    ------
    ScheduleError
        If the loops are not perfectly nested, if an extent depends on one of them, or if iterations depend on each
        other by more than an integer reduction.
    """
    chain = _chain(function, order)
    names = [loop.var.name for loop in chain]
    slots = sorted(names.index(name) for name in order)
    arranged = list(chain)
    for slot, name in zip(slots, order, strict=True):
        arranged[slot] = chain[names.index(name)]
    moved = [loop for loop, other in zip(chain, arranged, strict=True) if loop is not other]
    for loop in moved:
        _check_free(function, loop)
    for loop in chain:
        if variables_of(loop.extent) & set(names):
            raise ScheduleError(
                f"`{function.name}`: the extent of loop `{loop.var.name}` depends on the loops around it"
            )
    body: Stmt = chain[-1].body
    for loop in reversed(arranged):
        body = For(loop.var, loop.extent, body, loop.kind)
    return replace_stmt(function, chain[0], body)


def _chain(function: Function, order: tuple[str, ...]) -> list[For]:
    """Return the perfect nest from the outermost to the innermost of the named loops."""
    if len(set(order)) != len(order):
        raise ScheduleError(f"`{function.name}`: a loop is named twice in {', '.join(order)}")
    named = [find_loop(function, name) for name in order]
    for start in named:
        chain, missing = [start], {*order} - {start.var.name}
        while missing and isinstance(chain[-1].body, For):
            chain.append(chain[-1].body)
            missing.discard(chain[-1].var.name)
        if not missing:
            return chain
    raise ScheduleError(f"`{function.name}`: loops {', '.join(order)} are not perfectly nested")


def _check_free(function: Function, loop: For) -> None:
    if has_call(loop.body):
        raise ScheduleError(f"`{function.name}`: loop `{loop.var.name}` holds a tensorized instruction")
    for conflict in conflicts(loop):
        if not conflict.is_reduction:
            raise ScheduleError(
                f"`{function.name}`: loop `{loop.var.name}` cannot be moved, its iterations depend on each other "
                f"by `{conflict.first.buffer}`"
            )
