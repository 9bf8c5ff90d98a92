"""Overlap the iterations of a loop."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.annotate import annotated, check_independent
from tilewright.compiler.tir.primitives.loops import ScheduleError
from tilewright.isa.ir import Allocate, Function


def pipeline(function: Function, loop: str) -> Function:
    """Mark a loop as pipelined: the buffers that its body allocates are there twice, so that iterations overlap.

    Before::

        for i in range(8):
          with a: i8[16] in act:
            for k in range(16):
              a[k] = x[i, k]
            for j in range(16):
              y[i, j] = a[j]

    After `pipeline(f, "i")` copies of the next iteration may run beside the work of this one::

        for i in range(8):  # pipelined
          with a: i8[16] in act:
            ...

    Raises
    ------
    ScheduleError
        If the body allocates nothing, or iterations depend on each other by more than a reduction.
    """
    old = check_independent(function, loop, "pipelined", with_reductions=True)
    if not isinstance(old.body, Allocate):
        raise ScheduleError(f"`{function.name}`: loop `{loop}` cannot be pipelined, its body stages nothing")
    return annotated(function, loop, "pipelined")
