"""Run the iterations of a loop in the lanes of vector instructions."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.annotate import annotated, check_independent
from tilewright.compiler.tir.primitives.loops import ScheduleError, constant_extent
from tilewright.compiler.tir.visit import walk_statements
from tilewright.isa.ir import For, Function


def vectorize(function: Function, loop: str) -> Function:
    """Mark an innermost loop as vectorized.

    Before::

        for i in range(16):
          y[i] = x[i]

    After `vectorize(f, "i")`::

        for i in range(16):  # vectorized
          y[i] = x[i]

    Raises
    ------
    ScheduleError
        If the extent is no constant, there is a loop inside, or iterations depend on each other by more than an
        integer reduction.
    """
    old = check_independent(function, loop, "vectorized", with_reductions=True)
    constant_extent(function, old)
    inner = [s.var.name for s in walk_statements(old.body) if isinstance(s, For)]
    if inner:
        raise ScheduleError(f"`{function.name}`: loop `{loop}` cannot be vectorized, loop `{inner[0]}` is inside")
    return annotated(function, loop, "vectorized")
