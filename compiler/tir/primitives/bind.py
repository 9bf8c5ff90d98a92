"""Give the iterations of a loop to the threads of a GPU."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.annotate import annotated, check_independent
from tilewright.compiler.tir.primitives.loops import ScheduleError
from tilewright.compiler.tir.visit import walk_statements
from tilewright.isa.ir import For, Function

AXES = ("block.x", "block.y", "block.z", "thread.x", "thread.y", "thread.z")


def bind(function: Function, loop: str, axis: str) -> Function:
    """Bind a loop to a hardware axis.

    Before::

        for i in range(64):
          y[i] = x[i]

    After `bind(f, "i", "thread.x")`::

        for i in range(64):  # bound:thread.x
          y[i] = x[i]

    Raises
    ------
    ScheduleError
        For an unknown axis, one that a loop around or inside has, or iterations that depend on each other.
    """
    if axis not in AXES:
        raise ScheduleError(f"axis must be one of {', '.join(AXES)}, not `{axis}`")
    old = check_independent(function, loop, "bound")
    for stmt in walk_statements(function):
        if isinstance(stmt, For) and stmt.kind == f"bound:{axis}" and _is_nested(stmt, old):
            raise ScheduleError(f"`{function.name}`: loop `{stmt.var.name}` is bound to {axis} already")
    return annotated(function, loop, f"bound:{axis}")


def _is_nested(one: For, other: For) -> bool:
    return any(s is other for s in walk_statements(one)) or any(s is one for s in walk_statements(other))
