"""Constant folding, substitution, and the affine normal form of index expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilewright.compiler.tir.arithmetic import binary, conversion, integer_range
from tilewright.compiler.tir.visit import map_expressions, rebuild_expr, rebuild_shared, rebuild_stmt
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
    Lookup,
    Select,
    Stmt,
    Var,
    total,
)

Ranges = Mapping[str, range]


# ---- substitution --------------------------------------------------------------------------------------------


def substitute_expr(expr: Expr, values: Mapping[str, Expr | int]) -> Expr:
    """Replace variables by expressions or constants; nothing is folded."""

    def replaced(inner: Expr, change: Callable[[Expr], Expr]) -> Expr:
        if isinstance(inner, Var):
            value = values.get(inner.name, inner)
            return value if isinstance(value, Expr) else Const(value, inner.type)
        return rebuild_expr(inner, change)

    return rebuild_shared(expr, replaced)


def substitute(stmt: Stmt, values: Mapping[str, Expr | int]) -> Stmt:
    """Replace free variables in a statement by expressions or constants; nothing is folded."""
    if isinstance(stmt, For) and stmt.var.name in values:
        inner = {name: value for name, value in values.items() if name != stmt.var.name}
        return For(stmt.var, substitute_expr(stmt.extent, values), substitute(stmt.body, inner), stmt.kind)
    return rebuild_stmt(stmt, lambda s: substitute(s, values), lambda e: substitute_expr(e, values))


# ---- affine normal form --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine:
    """`constant + sum of coefficient * variable`.

    Attributes
    ----------
    terms : tuple of (str, int)
        Variables and coefficients that are not zero, sorted by name.
    constant : int
    """

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    @classmethod
    def of(cls, coefficients: Mapping[str, int], constant: int = 0) -> Affine:
        """Build from a mapping; zero coefficients are dropped."""
        return cls(tuple(sorted((n, c) for n, c in coefficients.items() if c)), constant)

    @property
    def coefficients(self) -> dict[str, int]:
        """Coefficients by variable."""
        return dict(self.terms)

    @property
    def is_constant(self) -> bool:
        """Whether no variable occurs."""
        return not self.terms

    def coefficient(self, name: str) -> int:
        """Return the coefficient of a variable, 0 when it does not occur."""
        return dict(self.terms).get(name, 0)

    def __add__(self, other: Affine) -> Affine:
        merged = self.coefficients
        for name, coefficient in other.terms:
            merged[name] = merged.get(name, 0) + coefficient
        return Affine.of(merged, self.constant + other.constant)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scaled(-1)

    def scaled(self, factor: int) -> Affine:
        """Return this, `factor` times."""
        return Affine.of({n: c * factor for n, c in self.terms}, self.constant * factor)

    def without(self, name: str) -> Affine:
        """Return this with a variable set to 0."""
        return Affine(tuple(term for term in self.terms if term[0] != name), self.constant)

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Return the value where the variables have these values."""
        return self.constant + sum(coefficient * values[name] for name, coefficient in self.terms)

    def bounds(self, ranges: Ranges) -> range:
        """Return the smallest range that holds every value, given the variables' ranges.

        Raises
        ------
        KeyError
            For a variable without a range.
        """
        low = high = self.constant
        for name, coefficient in self.terms:
            ends = (coefficient * ranges[name].start, coefficient * (ranges[name].stop - 1))
            low, high = low + min(ends), high + max(ends)
        return range(low, high + 1)

    def to_expr(self, dtype: DType = DType.I64) -> Expr:
        """Return this as an expression, the constant last."""
        terms: list[Expr] = [Var(n, dtype) * c if c != 1 else Var(n, dtype) for n, c in self.terms]
        if self.constant or not terms:
            terms.append(Const(self.constant, dtype))
        return total(terms)


def affine(expr: Expr) -> Affine | None:
    """Return the affine normal form of an integer expression, or None when it has none.

    Wrapping is not regarded: the expression must not overflow its type.
    """
    match expr:
        case Const(value) if isinstance(value, int):
            return Affine((), value)
        case Var(name):
            return Affine(((name, 1),))
        case Binary(BinaryOp.ADD | BinaryOp.SUB | BinaryOp.MUL | BinaryOp.SHL as op, left, right):
            one, other = affine(left), affine(right)
            return None if one is None or other is None else _combined(op, one, other)
        case Cast(dtype, value) if _widens(value.dtype, dtype):
            return affine(value)
        case _:
            return None


def _combined(op: BinaryOp, one: Affine, other: Affine) -> Affine | None:
    match op:
        case BinaryOp.ADD:
            return one + other
        case BinaryOp.SUB:
            return one - other
        case BinaryOp.SHL if other.is_constant and other.constant >= 0:
            return one.scaled(1 << other.constant)
        case BinaryOp.MUL if other.is_constant:
            return one.scaled(other.constant)
        case BinaryOp.MUL if one.is_constant:
            return other.scaled(one.constant)
        case _:
            return None


def _widens(source: DType, target: DType) -> bool:
    if source.is_float or target.is_float:
        return False
    held, holder = integer_range(source), integer_range(target)
    return holder.start <= held.start and held.stop <= holder.stop


# ---- folding -------------------------------------------------------------------------------------------------


def fold(expr: Expr, ranges: Ranges | None = None) -> Expr:
    """Return an equal expression with constants computed and neutral operations removed.

    Parameters
    ----------
    expr : Expr
    ranges : mapping of str to range, optional
        What is known of variables; divisions, remainders, masks, comparisons are resolved where it decides them.
    """
    known = ranges or {}
    return rebuild_shared(expr, lambda inner, change: _fold_top(rebuild_expr(inner, change), known))


def _fold_top(inner: Expr, known: Ranges) -> Expr:
    """Fold an expression whose operands are folded."""
    match inner:
        case Binary(op, Const(left), Const(right)) if not (op in (BinaryOp.DIV, BinaryOp.MOD) and right == 0):
            return Const(binary(op, inner.left.dtype)(left, right), inner.dtype)
        case Binary() if not inner.left.dtype.is_float:
            return _fold_integer(inner, known)
        case Select(Const(condition), if_true, if_false):
            return if_true if condition else if_false
        case Select(_, if_true, if_false) if if_true == if_false:
            return if_true
        case Cast(dtype, value) if dtype == value.dtype:
            return value
        case Cast(dtype, Const(value, source)):
            return Const(conversion(source, dtype)(value), dtype)
        case Lookup(table, Const(place)) if 0 <= place < len(table.values):
            return Const(table.values[int(place)], table.dtype)
        case _:
            return inner


def _fold_integer(expr: Binary, ranges: Ranges) -> Expr:
    left, right = expr.left, expr.right
    if isinstance(left, Const) and expr.op in (BinaryOp.ADD, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR):
        left, right = right, left
    match expr.op, right:
        case ((BinaryOp.ADD | BinaryOp.SUB | BinaryOp.OR | BinaryOp.XOR | BinaryOp.SHL | BinaryOp.SHR), Const(0)):
            return left
        case ((BinaryOp.MUL | BinaryOp.DIV), Const(1)):
            return left
        case ((BinaryOp.MUL | BinaryOp.AND), Const(0)):
            return Const(0, expr.dtype)
        case BinaryOp.MOD, Const(1):
            return Const(0, expr.dtype)
        case BinaryOp.AND, Const(value) if value == (1 if expr.dtype == DType.BOOL else -1):
            return left
        case ((BinaryOp.MIN | BinaryOp.MAX), _) if left == right:
            return left
        case BinaryOp.ADD, Const(value) if isinstance(left, Binary) and isinstance(left.right, Const):
            return _reassociated(left, int(value), expr)
        case _:
            return _fold_by_range(expr if right is expr.right else Binary(expr.op, left, right), ranges)


def _reassociated(left: Binary, value: int, expr: Binary) -> Expr:
    """`(x + c) + value` and `(x - c) + value`, the constants added."""
    if left.op not in (BinaryOp.ADD, BinaryOp.SUB):
        return expr
    assert isinstance(left.right, Const)
    constant = left.right.value if left.op == BinaryOp.ADD else -left.right.value
    joined = binary(BinaryOp.ADD, expr.dtype)(constant, value)
    return left.left if joined == 0 else Binary(BinaryOp.ADD, left.left, Const(joined, expr.dtype))


def value_range(expr: Expr, ranges: Ranges) -> range | None:
    """Return bounds of an integer expression, or None when they are unknown."""
    form = affine(expr)
    if form is not None:
        return form.bounds(ranges) if all(n in ranges and ranges[n] for n, _ in form.terms) else None
    match expr:
        case Binary(BinaryOp.AND, _, Const(int(mask))) if mask >= 0:
            return range(mask + 1)
        case Binary(BinaryOp.MOD, _, Const(int(divisor))) if divisor > 0:
            return range(divisor)
        case Binary(BinaryOp.DIV, inner, Const(int(divisor))) if divisor > 0:
            held = value_range(inner, ranges)
            return None if held is None else range(held.start // divisor, (held.stop - 1) // divisor + 1)
        case Binary(BinaryOp.ADD, left, right):
            one, other = value_range(left, ranges), value_range(right, ranges)
            return None if one is None or other is None else range(one.start + other.start, one.stop + other.stop - 1)
        case _:
            return None


def _fold_by_range(expr: Binary, ranges: Ranges) -> Expr:
    if not ranges or not isinstance(expr.right, Const):
        return expr
    held, constant = value_range(expr.left, ranges), int(expr.right.value)
    if held is None:
        return expr
    match expr.op:
        case BinaryOp.MOD | BinaryOp.DIV if constant > 0:
            return _fold_division(expr, constant, held, ranges)
        case BinaryOp.AND if _is_mask(constant) and held.start >= 0 and held.stop <= constant + 1:
            return expr.left
        case BinaryOp.LT if held.stop <= constant or held.start >= constant:
            return Const(int(held.stop <= constant), DType.BOOL)
        case BinaryOp.LE if held.stop <= constant + 1 or held.start > constant:
            return Const(int(held.stop <= constant + 1), DType.BOOL)
        case _:
            return expr


def _is_mask(value: int) -> bool:
    return value >= 0 and not value & (value + 1)


def _fold_division(expr: Binary, divisor: int, held: range, ranges: Ranges) -> Expr:
    """Resolve `x // c` and `x % c` by splitting x into a multiple of c and a rest in `0..c-1`."""
    form = affine(expr.left)
    if form is not None and form.terms:
        multiple = Affine.of({n: k for n, k in form.terms if k % divisor == 0}, form.constant // divisor * divisor)
        rest = form - multiple
        within = rest.bounds(ranges)
        if within.start >= 0 and within.stop <= divisor:
            quotient = Affine.of({n: k // divisor for n, k in multiple.terms}, multiple.constant // divisor)
            return (quotient if expr.op == BinaryOp.DIV else rest).to_expr(expr.dtype)
    if held.start >= 0 and held.stop <= divisor:
        return Const(0, expr.dtype) if expr.op == BinaryOp.DIV else expr.left
    return expr


def simplify(stmt: Stmt, ranges: Ranges | None = None) -> Stmt:
    """Fold every expression; drop branches that are never taken, loops that never run, nested and empty blocks.

    Loops of extent one are replaced by their body; loop variables' ranges are used in folding.
    """
    known = dict(ranges or {})
    match stmt:
        case For(var, extent, body, kind):
            return _simplify_loop(var, fold(extent, known), body, kind, known)
        case If(condition, then, otherwise):
            return _simplify_if(fold(condition, known), simplify(then, known), otherwise, known)
        case Block(body):
            return _flattened([simplify(inner, known) for inner in body])
        case Allocate(buffer, body):
            inner = simplify(body, known)
            return inner if inner == Block(()) else Allocate(buffer, inner)
        case _:
            return map_expressions(stmt, lambda expr: fold(expr, known))


def _simplify_loop(var: Var, extent: Expr, body: Stmt, kind: str, known: dict[str, range]) -> Stmt:
    if not isinstance(extent, Const):
        held = value_range(extent, known)
        rest = {name: r for name, r in known.items() if name != var.name}
        inner = rest if held is None else rest | {var.name: range(max(0, held.stop - 1))}
        return For(var, extent, simplify(body, inner), kind)
    count = int(extent.value)
    if count <= 0:
        return Block(())
    if count == 1:
        return simplify(substitute(body, {var.name: 0}), known)
    simple = simplify(body, {**known, var.name: range(count)})
    return simple if simple == Block(()) else For(var, extent, simple, kind)


def _simplify_if(condition: Expr, then: Stmt, otherwise: Stmt | None, known: dict[str, range]) -> Stmt:
    other = None if otherwise is None else simplify(otherwise, known)
    if isinstance(condition, Const):
        return then if condition.value else other or Block(())
    if then == Block(()) and other in (None, Block(())):
        return Block(())
    return If(condition, then, None if other == Block(()) else other)


def _flattened(body: list[Stmt]) -> Stmt:
    flat: list[Stmt] = []
    for inner in body:
        flat += inner.body if isinstance(inner, Block) else [inner]
    return flat[0] if len(flat) == 1 else Block(tuple(flat))


def is_natural(expr: Expr) -> bool:
    """Whether an index cannot be negative."""
    match expr:
        case Const(value):
            return value >= 0
        case Var():
            return True
        case Binary(BinaryOp.ADD | BinaryOp.MUL | BinaryOp.DIV | BinaryOp.MOD | BinaryOp.MIN, left, right):
            return is_natural(left) and is_natural(right)
    return False
