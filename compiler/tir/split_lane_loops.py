"""Split loops so that `var // c` and `var % c` in their bodies become loop variables, and inner bodies contiguous."""

from __future__ import annotations

from tilewright.compiler.tir.simplify import simplify, substitute
from tilewright.compiler.tir.visit import rebuild_stmt, variables_of, walk_expressions
from tilewright.isa.ir import Binary, BinaryOp, Const, For, Function, Stmt, Var


def split_lane_loops(function: Function) -> Function:
    """Split every loop of constant extent whose variable is divided by a constant, and simplify.

    Before::

        for k in range(16):
          x[k // 8, k % 8] = y[k]

    After::

        for k_outer in range(2):
          for k in range(8):
            x[k_outer, k] = y[k_outer * 8 + k]
    """
    body = simplify(_split(simplify(function.body), frozenset(s.name for s in function.scalars)))
    return Function(function.name, function.scalars, function.buffers, body)


def _split(stmt: Stmt, taken: frozenset[str]) -> Stmt:
    if not isinstance(stmt, For):
        return rebuild_stmt(stmt, lambda inner: _split(inner, taken), lambda expr: expr)
    body = _split(stmt.body, taken | {stmt.var.name})
    factor = _divisor(stmt, body)
    if factor is None:
        return For(stmt.var, stmt.extent, body, stmt.kind)
    outer = Var(f"{stmt.var.name}_outer", stmt.var.type)
    if outer.name in taken | variables_of(body):
        return For(stmt.var, stmt.extent, body, stmt.kind)
    assert isinstance(stmt.extent, Const)
    inner = For(stmt.var, Const(factor, stmt.var.type), _renamed(body, stmt.var, outer * factor + stmt.var), stmt.kind)
    return For(outer, Const(int(stmt.extent.value) // factor, stmt.var.type), inner)


def _renamed(body: Stmt, var: Var, value: Binary) -> Stmt:
    """Substitute `value`, which holds `var` itself."""
    return substitute(body, {var.name: value})


def _divisor(stmt: For, body: Stmt) -> int | None:
    """Return the smallest constant that the loop variable is divided by, when it divides the extent."""
    if not isinstance(stmt.extent, Const):
        return None
    extent = int(stmt.extent.value)
    found = set()
    for expr in walk_expressions(body):
        match expr:
            case Binary(BinaryOp.DIV | BinaryOp.MOD, Var(name), Const(int(divisor))) if name == stmt.var.name:
                found.add(divisor)
            case _:
                pass
    return min((d for d in found if 1 < d < extent and extent % d == 0), default=None)
