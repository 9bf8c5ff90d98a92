"""Run the iterations of a loop on several threads."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.annotate import annotated, check_independent
from tilewright.isa.ir import Function


def parallel(function: Function, loop: str) -> Function:
    """Mark a loop as parallel.

    Before::

        for i in range(64):
          y[i] = x[i]

    After `parallel(f, "i")`::

        for i in range(64):  # parallel
          y[i] = x[i]

    Raises
    ------
    ScheduleError
        If iterations depend on each other.
    """
    check_independent(function, loop, "parallel")
    return annotated(function, loop, "parallel")
