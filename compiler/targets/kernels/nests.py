"""Builds the nests that kernels are."""

from __future__ import annotations

from tilewright.isa.ir import Allocate, Block, Buffer, Const, Expr, For, If, Stmt, Var, total


def loop(var: Var, extent: int, *body: Stmt, kind: str = "serial") -> Stmt:
    """Build a loop over statements."""
    return For(var, Const(extent, var.type), sequence(*body), kind)


def sequence(*body: Stmt) -> Stmt:
    """Build statements in order, blocks among them opened."""
    flat = [inner for stmt in body for inner in (stmt.body if isinstance(stmt, Block) else (stmt,))]
    return flat[0] if len(flat) == 1 else Block(tuple(flat))


def inside(buffers: list[Buffer], body: Stmt) -> Stmt:
    """Build the allocations of buffers around a body."""
    for buffer in reversed(buffers):
        body = Allocate(buffer, body)
    return body


def when(condition: Expr | None, body: Stmt) -> Stmt:
    """Build a guarded statement; None is no guard."""
    return body if condition is None else If(condition, body)


def linear(*terms: tuple[Expr, int]) -> Expr:
    """Build a sum of products, without terms of factor 0."""
    kept = [expr * factor if factor != 1 else expr for expr, factor in terms if factor]
    return total(kept) if kept else Const(0)
