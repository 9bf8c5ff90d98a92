"""Which pairs of accesses tie the iterations of a loop to their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

from tilewright.compiler.tir.simplify import Affine, affine
from tilewright.compiler.tir.visit import expressions_of, statements_of, walk_expressions
from tilewright.isa.ir import Allocate, Binary, BinaryOp, Call, Const, Expr, For, Load, Stmt, Store

#: Operators whose results do not depend on the order, on integers.
_ASSOCIATIVE = frozenset(
    (BinaryOp.ADD, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR)
)


@dataclass(frozen=True)
class Touch:
    """One access of a buffer, with the ranges of the loops between it and the loop in question.

    Attributes
    ----------
    buffer : str
    indices : tuple of Expr
    is_write : bool
    ranges : dict of str to range or None
        None for a loop whose extent is no constant.
    reduction : BinaryOp or None
        Set where the access belongs to an update `b[i] = b[i] op e`.
    """

    buffer: str
    indices: tuple[Expr, ...]
    is_write: bool
    ranges: dict[str, range | None]
    reduction: BinaryOp | None


@dataclass(frozen=True)
class Conflict:
    """Two accesses that different iterations may make to one element; `is_reduction` where their order is free."""

    first: Touch
    second: Touch
    is_reduction: bool


def conflicts(loop: For) -> list[Conflict]:
    """Return the pairs of accesses that tie iterations of a loop together; of a `Call`'s nothing is known."""
    touches = list(_touches(loop.body, {}, frozenset()))
    found = []
    for one, other in combinations_with_replacement(touches, 2):
        if one.buffer == other.buffer and (one.is_write or other.is_write) and _may_meet(loop.var.name, one, other):
            free = one.reduction is not None and one.reduction is other.reduction and one.indices == other.indices
            found.append(Conflict(one, other, free))
    return found


def has_call(stmt: Stmt) -> bool:
    """Whether a tensorized instruction, of which accesses are not known here, is inside."""
    return isinstance(stmt, Call) or any(has_call(inner) for inner in statements_of(stmt))


def _touches(stmt: Stmt, ranges: dict[str, range | None], private: frozenset[str]) -> Iterator[Touch]:
    match stmt:
        case For(var, extent, body):
            span = range(int(extent.value)) if isinstance(extent, Const) else None
            yield from _reads(extent, ranges, private, None)
            yield from _touches(body, {**ranges, var.name: span}, private)
        case Allocate(buffer, body):
            yield from _touches(body, ranges, private | {buffer.name})
        case Store(buffer, indices, value):
            op = _reduction_of(stmt)
            if buffer.name not in private:
                yield Touch(buffer.name, indices, True, ranges, op)
            for index in indices:
                yield from _reads(index, ranges, private, None)
            if op is not None and isinstance(value, Binary):
                if buffer.name not in private:
                    yield Touch(buffer.name, indices, False, ranges, op)
                yield from _reads(value.right, ranges, private, None)
            else:
                yield from _reads(value, ranges, private, None)
        case _:
            for expr in expressions_of(stmt):
                yield from _reads(expr, ranges, private, None)
            for inner in statements_of(stmt):
                yield from _touches(inner, ranges, private)


def _reads(
    expr: Expr, ranges: dict[str, range | None], private: frozenset[str], op: BinaryOp | None
) -> Iterator[Touch]:
    for part in walk_expressions(expr):
        if isinstance(part, Load) and part.buffer.name not in private:
            yield Touch(part.buffer.name, part.indices, False, ranges, op)


def _reduction_of(store: Store) -> BinaryOp | None:
    """Return the operator of an update in place of an integer element that its other operand does not read."""
    match store.value:
        case Binary(op, Load(buffer, indices), right) if op in _ASSOCIATIVE and not buffer.dtype.is_float:
            own = buffer == store.buffer and indices == store.indices
            again = any(isinstance(p, Load) and p.buffer == buffer for p in walk_expressions(right))
            return op if own and not again else None
        case _:
            return None


def _may_meet(name: str, one: Touch, other: Touch) -> bool:
    """Whether different iterations of loop `name` may touch the same element by these two accesses."""
    return not any(
        _keeps_apart(name, affine(a), affine(b), one, other) for a, b in zip(one.indices, other.indices, strict=True)
    )


def _keeps_apart(name: str, a: Affine | None, b: Affine | None, one: Touch, other: Touch) -> bool:
    """Whether this index is different in different iterations, whatever the inner loops do."""
    if a is None or b is None or a.coefficient(name) == 0 or a.coefficient(name) != b.coefficient(name):
        return False
    inner_a, outer_a = _inner_span(a.without(name), one)
    inner_b, outer_b = _inner_span(b.without(name), other)
    if inner_a is None or inner_b is None or outer_a != outer_b:
        return False
    step = abs(a.coefficient(name))
    return max(inner_a.stop - 1 - inner_b.start, inner_b.stop - 1 - inner_a.start) < step


def _inner_span(form: Affine, touch: Touch) -> tuple[range | None, Affine]:
    """Split into the range that inner loops and the constant give, and the rest, which is fixed meanwhile."""
    inner = {n: c for n, c in form.terms if n in touch.ranges}
    outer = Affine.of({n: c for n, c in form.terms if n not in touch.ranges})
    spans = {n: touch.ranges[n] for n in inner}
    known = {n: span for n, span in spans.items() if span is not None}
    if len(known) < len(spans):
        return None, outer
    return Affine.of(inner, form.constant).bounds(known), outer
