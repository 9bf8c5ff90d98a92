"""Annotations that say how a loop runs: what they share."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.dependence import conflicts, has_call
from tilewright.compiler.tir.primitives.loops import ScheduleError, find_loop, replace_stmt
from tilewright.isa.ir import For, Function


def annotated(function: Function, loop: str, kind: str) -> Function:
    """Set the kind of a serial loop.

    Raises
    ------
    ScheduleError
        If the loop is unknown or has a kind already.
    """
    old = find_loop(function, loop)
    if old.kind != "serial":
        raise ScheduleError(f"`{function.name}`: loop `{loop}` is {old.kind} already")
    return replace_stmt(function, old, For(old.var, old.extent, old.body, kind))


def check_independent(function: Function, loop: str, what: str, with_reductions: bool = False) -> For:
    """Refuse a loop of which iterations depend on each other.

    Raises
    ------
    ScheduleError
    """
    old = find_loop(function, loop)
    if has_call(old.body):
        raise ScheduleError(f"`{function.name}`: loop `{loop}` holds a tensorized instruction and cannot be {what}")
    for conflict in conflicts(old):
        if not (with_reductions and conflict.is_reduction):
            raise ScheduleError(
                f"`{function.name}`: loop `{loop}` cannot be {what}, its iterations depend on each other "
                f"by `{conflict.first.buffer}`"
            )
    return old
