"""The canonical form in which a nest and an intrinsic's meaning are compared.

Perfectly nested loops stand in one `Level`; loops of one iteration are gone; a loop whose variable is divided
(`c // 4`, `c % 4`) is split; adjacent loops that walk every buffer like one loop are merged; and a buffer's element is
named by one polynomial of its row-major position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from tilewright.compiler.tir.tensorize.polynomial import Poly
from tilewright.compiler.tir.tensorize.specialise import Specialiser
from tilewright.compiler.tir.tensorize.tree import (
    Access,
    Assign,
    Branch,
    Level,
    Local,
    Loop,
    Node,
    Sequence,
    TensorizeError,
    accesses,
    bare_names,
    children,
    map_accesses,
    map_levels,
)
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)


def canonical(stmt: Stmt) -> Level:
    """Bring a nest into canonical form."""
    return merged(_Converter({}).level(_split_divided(Specialiser(is_deciding=False).stmt(stmt))))


# ---- splitting -------------------------------------------------------------------------------------------------


def _split_divided(stmt: Stmt) -> Stmt:
    """Split every constant loop whose variable is divided by a constant that divides its extent."""
    return _split(stmt, frozenset(pair for expr in _expressions(stmt) for pair in _divisors(expr)))


def _split(stmt: Stmt, divided: frozenset[tuple[str, int]]) -> Stmt:
    """Split loops; `divided` has the variables that are divided by constants, with these."""
    match stmt:
        case For(var, Const(int(extent)), body, kind):
            divisors = {d for name, d in divided if name == var.name and d < extent and extent % d == 0}
            if not divisors:
                return For(var, Const(extent, var.type), _split(body, divided), kind)
            factor = max(divisors)
            outer, inner = Var(f"{var.name}_o", var.type), Var(f"{var.name}_i", var.type)
            whole = Specialiser({var.name: outer * factor + inner}, is_deciding=False).stmt(body)
            ranged = For(inner, Const(factor, var.type), whole)
            return _split_divided(For(outer, Const(extent // factor, var.type), _reduced(ranged, outer, inner, factor)))
        case For(var, bound, body, kind):
            return For(var, bound, _split(body, divided), kind)
        case Block(body):
            return Block(tuple(_split(s, divided) for s in body))
        case If(condition, then, otherwise):
            return If(condition, _split(then, divided), _split(otherwise, divided) if otherwise else None)
        case Allocate(buffer, inner_body):
            return Allocate(buffer, _split(inner_body, divided))
        case _:
            return stmt


def _reduced(stmt: Stmt, outer: Var, inner: Var, factor: int) -> Stmt:
    """Replace `(outer * factor + inner) // factor` by `outer`, and the remainder by `inner`."""
    whole = outer * factor + inner
    divide, remainder = whole // factor, whole % factor

    def rewrite(expr: Expr) -> Expr:
        return outer if expr == divide else inner if expr == remainder else expr

    return map_expressions(stmt, rewrite)


def map_expressions(stmt: Stmt, rewrite: Callable[[Expr], Expr]) -> Stmt:
    """Rewrite every expression of a statement, parts first."""

    def expr(e: Expr) -> Expr:
        match e:
            case Binary(op, left, right):
                return rewrite(Binary(op, expr(left), expr(right)))
            case Select(condition, if_true, if_false):
                return rewrite(Select(expr(condition), expr(if_true), expr(if_false)))
            case Cast(dtype, value):
                return rewrite(Cast(dtype, expr(value)))
            case Load(buffer, indices):
                return rewrite(Load(buffer, tuple(expr(i) for i in indices)))
            case _:
                return rewrite(e)

    match stmt:
        case For(var, extent, body, kind):
            return For(var, expr(extent), map_expressions(body, rewrite), kind)
        case Store(buffer, indices, value):
            return Store(buffer, tuple(expr(i) for i in indices), expr(value))
        case If(condition, then, otherwise):
            other = map_expressions(otherwise, rewrite) if otherwise else None
            return If(expr(condition), map_expressions(then, rewrite), other)
        case Block(body):
            return Block(tuple(map_expressions(s, rewrite) for s in body))
        case Allocate(buffer, body):
            return Allocate(buffer, map_expressions(body, rewrite))
        case _:
            return stmt


def _expressions(stmt: Stmt) -> Iterator[Expr]:
    match stmt:
        case For(_, extent, body):
            yield extent
            yield from _expressions(body)
        case Store(_, indices, value):
            yield from indices
            yield value
        case If(condition, then, otherwise):
            yield condition
            yield from _expressions(then)
            if otherwise:
                yield from _expressions(otherwise)
        case Block(body):
            for s in body:
                yield from _expressions(s)
        case Allocate(_, body):
            yield from _expressions(body)


def _divisors(expr: Expr) -> Iterator[tuple[str, int]]:
    """Yield the variables that are divided by constants, and the constants."""
    match expr:
        case Binary(BinaryOp.DIV | BinaryOp.MOD, Var(name), Const(int(divisor))):
            yield name, divisor
    for part in children(expr):
        yield from _divisors(part)


# ---- conversion ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Converter:
    """Builds the tree; `ranges` are those of the constant loops around."""

    ranges: Mapping[str, tuple[int, int]]

    def level(self, stmt: Stmt) -> Level:
        loops: list[Loop] = []
        ranges = dict(self.ranges)
        while isinstance(stmt, For):
            extent, opaque = _Converter(ranges).poly(stmt.extent)
            if opaque:
                raise TensorizeError(f"the extent of loop `{stmt.var.name}` must be affine")
            loops.append(Loop(stmt.var.name, extent))
            if extent.value is not None:
                ranges[stmt.var.name] = (0, extent.value - 1)
            stmt = stmt.body
        return Level(tuple(loops), _Converter(ranges)._node(stmt))

    def _node(self, stmt: Stmt) -> Node:
        match stmt:
            case Block(body):
                return Sequence(tuple(self.level(s) for s in body))
            case If(condition, then, otherwise):
                return Branch(self.expr(condition), self.level(then), self.level(otherwise) if otherwise else None)
            case Allocate(buffer, body):
                return Local(buffer, self.level(body))
            case Store(buffer, indices, value):
                return Assign(self.access(buffer, indices), self.expr(value))
            case _:
                raise TensorizeError(f"a nest to tensorize cannot hold a {type(stmt).__name__.lower()}")

    def expr(self, expr: Expr) -> Expr:
        match expr:
            case Load(buffer, indices):
                return self.access(buffer, indices)
            case Binary(op, left, right):
                return Binary(op, self.expr(left), self.expr(right))
            case Select(condition, if_true, if_false):
                return Select(self.expr(condition), self.expr(if_true), self.expr(if_false))
            case Cast(dtype, value):
                return Cast(dtype, self.expr(value))
            case _:
                return expr

    def access(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Access:
        leading, modulus = _unwrapped(indices[0])
        aligned: list[tuple[Poly, int]] = []
        offset, opaque = Poly(), []
        for axis, index in enumerate((leading, *indices[1:])):
            stride = prod(buffer.shape[axis + 1 :])
            poly, rest = self.poly(index, aligned if axis == 0 else None)
            offset = offset + poly.scaled(stride)
            opaque += [(factor * stride, e) for factor, e in rest]
        return Access(buffer, offset, tuple(opaque), modulus, tuple(aligned))

    def poly(self, expr: Expr, aligned: list[tuple[Poly, int]] | None = None) -> tuple[Poly, list[tuple[int, Expr]]]:
        """Split an index into a polynomial and multiples of what is none."""
        match expr:
            case Const(int(value)):
                return Poly.constant(value), []
            case Var(name):
                return Poly.variable(name), []
            case Binary(BinaryOp.ADD | BinaryOp.SUB as op, left, right):
                (a, x), (b, y) = self.poly(left, aligned), self.poly(right, aligned)
                sign = 1 if op is BinaryOp.ADD else -1
                return a + b.scaled(sign), [*x, *((sign * factor, e) for factor, e in y)]
            case Binary(BinaryOp.MUL, left, right):
                (a, x), (b, y) = self.poly(left, aligned), self.poly(right, aligned)
                if not x and not y:
                    return a * b, []
            case Binary(BinaryOp.AND, inner, Const(int(mask))) if aligned is not None and _is_alignment(mask):
                poly, rest = self.poly(inner, aligned)
                if not rest:
                    aligned.append((poly, -mask))
                    return poly, []
            case Binary(BinaryOp.DIV | BinaryOp.MOD as op, left, Const(int(divisor))) if divisor > 0:
                poly, rest = self.poly(left, aligned)
                divided = None if rest else self._divided(poly, divisor, op)
                if divided is not None:
                    return divided, []
        return Poly(), [(1, self.expr(expr))]

    def _divided(self, poly: Poly, divisor: int, op: BinaryOp) -> Poly | None:
        quotient = Poly.of({m: c // divisor for m, c in poly.terms if c % divisor == 0})
        remainder = poly - quotient.scaled(divisor)
        span = remainder.interval(self.ranges)
        if span is None or span[0] < 0 or span[1] >= divisor:
            return None
        return quotient if op is BinaryOp.DIV else remainder


def _is_alignment(mask: int) -> bool:
    return mask < 0 and not (-mask) & (-mask - 1)


def _unwrapped(index: Expr) -> tuple[Expr, int]:
    """Take off a wrap modulo a power of two; return what is below it and the modulus."""
    match index:
        case Binary(BinaryOp.AND, inner, Const(int(mask))) if mask >= 0 and not mask & (mask + 1):
            return inner, mask + 1
        case _:
            return index, 0


# ---- merging ---------------------------------------------------------------------------------------------------


def merged(level: Level) -> Level:
    """Merge adjacent loops that walk every buffer like one loop."""
    loops, body = list(level.loops), map_levels(level.body, merged)
    index = len(loops) - 2
    while index >= 0:
        outer, inner = loops[index], loops[index + 1]
        if _is_mergeable(body, outer, inner):
            size = (outer.extent.value or 0) * (inner.extent.value or 0)
            loops[index : index + 2] = [Loop(inner.name, Poly.constant(size))]
            body = map_accesses(body, partial(_without, gone=frozenset({outer.name})))
        index -= 1
    return Level(tuple(loops), body)


def _without(access: Access, gone: frozenset[str]) -> Access:
    aligned = tuple((poly.without(gone), k) for poly, k in access.aligned)
    return replace(access, offset=access.offset.without(gone), aligned=aligned)


def _is_mergeable(body: Node, outer: Loop, inner: Loop) -> bool:
    size = inner.extent.value
    if size is None or outer.extent.value is None or {outer.name, inner.name} & bare_names(body):
        return False
    return all(
        access.offset.coefficient(outer.name) == access.offset.coefficient(inner.name).scaled(size)
        for access in accesses(body)
    )
