"""Finding and replacing the loops of a function, which are named by their variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tilewright.compiler.tir.visit import rebuild_stmt, statements_of, variables_of, walk_statements
from tilewright.isa.errors import TilewrightError
from tilewright.isa.ir import Allocate, Const, Expr, For, Function, Stmt


class ScheduleError(TilewrightError):
    """A schedule primitive cannot be applied."""


def find_loop(function: Function, name: str) -> For:
    """Return the loop over a variable.

    Raises
    ------
    ScheduleError
        If there is none, or several.
    """
    found = [s for s in walk_statements(function) if isinstance(s, For) and s.var.name == name]
    if len(found) != 1:
        count = "no loop" if not found else f"{len(found)} loops"
        raise ScheduleError(f"`{function.name}` has {count} `{name}`; its loops are {', '.join(loop_names(function))}")
    return found[0]


def loop_names(function: Function) -> list[str]:
    """Return the loops of a function, in order of appearance."""
    return [s.var.name for s in walk_statements(function) if isinstance(s, For)]


def around(function: Function, loop: For) -> tuple[For, ...]:
    """Return the loops around a loop, outermost first."""
    path = _path(function.body, loop)
    return tuple(s for s in path or () if isinstance(s, For))


def _path(stmt: Stmt, target: Stmt) -> tuple[Stmt, ...] | None:
    if stmt is target:
        return ()
    for inner in statements_of(stmt):
        rest = _path(inner, target)
        if rest is not None:
            return (stmt, *rest)
    return None


def replace_stmt(function: Function, old: Stmt, new: Stmt) -> Function:
    """Put one statement in another's place; `old` is compared by identity."""

    def change(stmt: Stmt) -> Stmt:
        return new if stmt is old else rebuild_stmt(stmt, change, _same)

    return replace(function, body=change(function.body))


def _same(expr: Expr) -> Expr:
    return expr


def map_stmts(stmt: Stmt, change: Callable[[Stmt], Stmt]) -> Stmt:
    """Rewrite every statement, inner ones first."""
    return change(rebuild_stmt(stmt, lambda inner: map_stmts(inner, change), _same))


def constant_extent(function: Function, loop: For) -> int:
    """Return the extent of a loop.

    Raises
    ------
    ScheduleError
        If it is no constant.
    """
    if not isinstance(loop.extent, Const):
        raise ScheduleError(f"`{function.name}`: loop `{loop.var.name}` must have a constant extent")
    return int(loop.extent.value)


def check_fresh(function: Function, *names: str) -> None:
    """Refuse names that stand for something already.

    Raises
    ------
    ScheduleError
    """
    buffers = {b.name for b in function.buffers}
    buffers |= {s.buffer.name for s in walk_statements(function) if isinstance(s, Allocate)}
    taken = {*loop_names(function), *variables_of(function), *(v.name for v in function.scalars), *buffers}
    for name in names:
        if name in taken or names.count(name) > 1:
            raise ScheduleError(f"`{function.name}` uses the name `{name}` already")
