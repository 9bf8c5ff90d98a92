"""Split one loop into two."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.loops import (
    ScheduleError,
    check_fresh,
    constant_extent,
    find_loop,
    replace_stmt,
)
from tilewright.compiler.tir.simplify import substitute
from tilewright.isa.ir import For, Function, If, Var, loops


def split(function: Function, loop: str, factor: int, outer: str = "", inner: str = "") -> Function:
    """Split a loop into an outer one and an inner one of `factor` iterations.

    Before::

        for i in range(10):
          y[i] = x[i]

    After `split(f, "i", 4)`; the guard is there only where `factor` does not divide the extent::

        for i_o in range(3):
          for i_i in range(4):
            if i_o * 4 + i_i < 10:
              y[i_o * 4 + i_i] = x[i_o * 4 + i_i]

    Parameters
    ----------
    function : Function
    loop : str
    factor : int
    outer, inner : str
        Names of the new loops; by default `<loop>_o` and `<loop>_i`.

    Raises
    ------
    ScheduleError
        For an unknown loop, a factor outside `1..extent` or a name in use.
    """
    old = find_loop(function, loop)
    extent = constant_extent(function, old)
    if not 1 <= factor <= extent:
        raise ScheduleError(f"`{function.name}`: loop `{loop}` of {extent} cannot be split by {factor}")
    names = outer or f"{loop}_o", inner or f"{loop}_i"
    check_fresh(function, *names)
    high, low = Var(names[0], old.var.type), Var(names[1], old.var.type)
    index = high * factor + low
    body = substitute(old.body, {loop: index})
    if extent % factor:
        body = If(index < extent, body)
    new = loops([(high, -(-extent // factor)), (low, factor)], body)
    assert isinstance(new, For)
    return replace_stmt(function, old, For(new.var, new.extent, new.body, old.kind))
