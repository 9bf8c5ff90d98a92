"""Specialise a loop nest: set scalars to constants, and leave out what then cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tilewright.compiler.tir.arithmetic import binary, conversion
from tilewright.compiler.tir.tensorize.polynomial import Poly
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Cast,
    Const,
    DType,
    Expr,
    For,
    If,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)

_NEUTRAL_RIGHT = {
    BinaryOp.ADD: 0,
    BinaryOp.SUB: 0,
    BinaryOp.SHL: 0,
    BinaryOp.SHR: 0,
    BinaryOp.OR: 0,
    BinaryOp.XOR: 0,
    BinaryOp.MUL: 1,
    BinaryOp.DIV: 1,
}


def fold_binary(op: BinaryOp, left: Expr, right: Expr) -> Expr:
    """Build `left op right`, computed where both sides are constants and left out where the right is neutral."""
    if isinstance(left, Const) and isinstance(right, Const) and not left.dtype.is_float:
        if op in (BinaryOp.DIV, BinaryOp.MOD) and right.value == 0:
            return Binary(op, left, right)
        return Const(binary(op, left.dtype)(left.value, right.value), Binary(op, left, right).dtype)
    if isinstance(right, Const) and _NEUTRAL_RIGHT.get(op) == right.value and not right.dtype.is_float:
        return left
    if isinstance(left, Const) and left.value == 0 and op is BinaryOp.ADD and not left.dtype.is_float:
        return right
    if op is BinaryOp.AND and left.dtype is DType.BOOL:
        return _fold_and(left, right)
    if op is BinaryOp.AND and isinstance(right, Const) and right.value == 0:
        return right
    return Binary(op, left, right)


def _fold_and(left: Expr, right: Expr) -> Expr:
    if isinstance(left, Const):
        return right if left.value else left
    if isinstance(right, Const):
        return left if right.value else right
    return Binary(BinaryOp.AND, left, right)


def fold_cast(dtype: DType, value: Expr) -> Expr:
    """Build a conversion; of an integer constant, its result."""
    if isinstance(value, Const) and not value.dtype.is_float and not dtype.is_float:
        return Const(conversion(value.dtype, dtype)(value.value), dtype)
    return value.cast(dtype)


def integer_poly(expr: Expr) -> Poly | None:
    """Return the polynomial that an integer expression of constants, variables, `+`, `-` and `*` is, else None."""
    match expr:
        case Const(value):
            return Poly.constant(value) if isinstance(value, int) else None
        case Var(name):
            return Poly.variable(name)
        case Binary(BinaryOp.ADD | BinaryOp.SUB | BinaryOp.MUL as op, left, right):
            a, b = integer_poly(left), integer_poly(right)
            if a is None or b is None:
                return None
            return a + b if op is BinaryOp.ADD else a - b if op is BinaryOp.SUB else a * b
        case _:
            return None


@dataclass(frozen=True)
class Specialiser:
    """Rewrites a nest under facts about its variables.

    Attributes
    ----------
    values : mapping of str to Expr
        What variables are replaced by.
    least : mapping of str to int
        Lower bounds of variables.
    below : mapping of str to Poly
        Exclusive upper bounds of variables.
    is_deciding : bool
        Whether comparisons that the facts imply are left out; otherwise only constants are.
    """

    values: Mapping[str, Expr] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    below: Mapping[str, Poly] = field(default_factory=dict)
    is_deciding: bool = True

    def expr(self, expr: Expr) -> Expr:
        """Rewrite an expression."""
        match expr:
            case Var(name):
                return self.values.get(name, expr)
            case Binary(op, left, right):
                folded = fold_binary(op, self.expr(left), self.expr(right))
                return self._decided(folded) if self.is_deciding else folded
            case Select(condition, if_true, if_false):
                test = self.expr(condition)
                if isinstance(test, Const):
                    return self.expr(if_true if test.value else if_false)
                return Select(test, self.expr(if_true), self.expr(if_false))
            case Cast(dtype, value):
                return fold_cast(dtype, self.expr(value))
            case Load(buffer, indices):
                return Load(buffer, tuple(self.expr(i) for i in indices))
            case _:
                return expr

    def stmt(self, stmt: Stmt) -> Stmt:
        """Rewrite a statement."""
        match stmt:
            case For(var, extent, body, kind):
                return self._loop(var, self.expr(extent), body, kind)
            case Store(buffer, indices, value):
                target = tuple(self.expr(i) for i in indices)
                stored = self.expr(value)
                return Block(()) if stored == Load(buffer, target) else Store(buffer, target, stored)
            case If(condition, then, otherwise):
                return self._branch(self.expr(condition), then, otherwise)
            case Block(body):
                return _block(tuple(self.stmt(s) for s in body))
            case Allocate(buffer, body):
                return Allocate(buffer, self.stmt(body))
            case _:
                return stmt

    def _loop(self, var: Var, extent: Expr, body: Stmt, kind: str) -> Stmt:
        if isinstance(extent, Const) and extent.value == 1:
            return replace(self, values={**self.values, var.name: Const(0, var.type)}).stmt(body)
        bound = integer_poly(extent)
        below = self.below if bound is None else {**self.below, var.name: bound}
        values = {name: value for name, value in self.values.items() if name != var.name}
        inner = replace(self, values=values, least={**self.least, var.name: 0}, below=below).stmt(body)
        return inner if inner == Block(()) else For(var, extent, inner, kind)

    def _branch(self, condition: Expr, then: Stmt, otherwise: Stmt | None) -> Stmt:
        if isinstance(condition, Const):
            return self.stmt(then) if condition.value else self.stmt(otherwise or Block(()))
        return If(condition, self.stmt(then), self.stmt(otherwise) if otherwise else None)

    def _decided(self, expr: Expr) -> Expr:
        """Decide a comparison that the facts imply."""
        match expr:
            case Binary(BinaryOp.LT, Var(name), right) if name in self.below:
                return Const(1, DType.BOOL) if integer_poly(right) == self.below[name] else expr
            case Binary(BinaryOp.LT | BinaryOp.LE as op, left, right):
                high, low = self._bounds(left)[1], self._bounds(right)[0]
                if high is not None and low is not None and (high < low or (op is BinaryOp.LE and high == low)):
                    return Const(1, DType.BOOL)
        return expr

    def _bounds(self, expr: Expr) -> tuple[int | None, int | None]:
        match expr:
            case Const(value):
                return int(value), int(value)
            case Var(name):
                limit = self.below[name].value if name in self.below else None
                return self.least.get(name), None if limit is None else limit - 1
            case Binary(BinaryOp.MIN, left, right):
                (a, _), (b, _) = self._bounds(left), self._bounds(right)
                return (None if a is None or b is None else min(a, b)), None
            case _:
                return None, None


def _block(body: tuple[Stmt, ...]) -> Stmt:
    flat = tuple(inner for s in body for inner in (s.body if isinstance(s, Block) else (s,)))
    return flat[0] if len(flat) == 1 else Block(flat)
