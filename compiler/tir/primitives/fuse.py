"""Make one loop of two."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.loops import (
    ScheduleError,
    check_fresh,
    constant_extent,
    find_loop,
    replace_stmt,
)
from tilewright.compiler.tir.simplify import substitute
from tilewright.isa.ir import Const, For, Function, Var


def fuse(function: Function, outer: str, inner: str, name: str = "") -> Function:
    """Make one loop of two perfectly nested ones.

    Before::

        for i in range(2):
          for j in range(3):
            y[i, j] = x[i, j]

    After `fuse(f, "i", "j")`::

        for i_j in range(6):
          y[i_j // 3, i_j % 3] = x[i_j // 3, i_j % 3]

    Raises
    ------
    ScheduleError
        If they are not perfectly nested, or the name is in use.
    """
    first, second = find_loop(function, outer), find_loop(function, inner)
    if first.body is not second:
        raise ScheduleError(f"`{function.name}`: loop `{inner}` is not the whole body of loop `{outer}`")
    size = constant_extent(function, second)
    fused = Var(name or f"{outer}_{inner}", first.var.type)
    check_fresh(function, fused.name)
    body = substitute(second.body, {outer: fused // size, inner: fused % size})
    extent = Const(constant_extent(function, first) * size, first.var.type)
    return replace_stmt(function, first, For(fused, extent, body, first.kind))
