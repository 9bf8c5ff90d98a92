"""Unroll a loop."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.annotate import annotated
from tilewright.compiler.tir.primitives.loops import ScheduleError, constant_extent, find_loop, replace_stmt
from tilewright.compiler.tir.simplify import simplify, substitute
from tilewright.compiler.tir.visit import walk_statements
from tilewright.isa.ir import Block, For, Function

MOST = 1024


def unroll(function: Function, loop: str, expand: bool = False) -> Function:
    """Mark a loop as unrolled, or write its iterations out.

    Before::

        for i in range(2):
          y[i] = x[i]

    After `unroll(f, "i")`::

        for i in range(2):  # unrolled
          y[i] = x[i]

    After `unroll(f, "i", expand=True)`::

        y[0] = x[0]
        y[1] = x[1]

    Raises
    ------
    ScheduleError
        If the extent is no constant, or above 1024; with `expand`, if there is a loop inside, which would be there
        several times.
    """
    old = find_loop(function, loop)
    extent = constant_extent(function, old)
    if extent > MOST:
        raise ScheduleError(f"`{function.name}`: loop `{loop}` of {extent} is not unrolled: the limit is {MOST}")
    if not expand:
        return annotated(function, loop, "unrolled")
    inner = [s.var.name for s in walk_statements(old.body) if isinstance(s, For)]
    if inner:
        raise ScheduleError(f"`{function.name}`: loop `{loop}` cannot be written out, loop `{inner[0]}` is inside")
    copies = tuple(simplify(substitute(old.body, {loop: i})) for i in range(extent))
    flat = tuple(s for copy in copies for s in (copy.body if isinstance(copy, Block) else (copy,)))
    return replace_stmt(function, old, Block(flat))
