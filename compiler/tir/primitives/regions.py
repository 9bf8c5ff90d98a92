"""What part of a buffer a statement touches: a box, as a function of the loops around."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilewright.compiler.tir.primitives.loops import ScheduleError
from tilewright.compiler.tir.simplify import Affine, affine
from tilewright.compiler.tir.visit import expressions_of, rebuild_expr, rebuild_stmt, statements_of, walk_expressions
from tilewright.isa.ir import Buffer, Const, DType, Expr, For, Load, Stmt, Store

Ranges = dict[str, range]


@dataclass(frozen=True)
class Box:
    """Along each axis: the first index, of the loops around, and the extent."""

    starts: tuple[Affine, ...]
    extents: tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """One access, and the ranges of the loops between the statement and it."""

    indices: tuple[Expr, ...]
    is_write: bool
    ranges: Ranges


def uses(stmt: Stmt, buffer: Buffer, ranges: Ranges | None = None) -> Iterator[Use]:
    """Yield the accesses of a buffer inside a statement."""
    inner = dict(ranges or {})
    for expr in expressions_of(stmt):
        for part in walk_expressions(expr):
            if isinstance(part, Load) and part.buffer == buffer:
                yield Use(part.indices, False, inner)
    if isinstance(stmt, Store) and stmt.buffer == buffer:
        yield Use(stmt.indices, True, inner)
    if isinstance(stmt, For):
        if not isinstance(stmt.extent, Const):
            raise ScheduleError(f"loop `{stmt.var.name}` must have a constant extent")
        inner[stmt.var.name] = range(int(stmt.extent.value))
    for child in statements_of(stmt):
        yield from uses(child, buffer, inner)


def box_of(found: list[Use], buffer: Buffer, around: Ranges) -> Box:
    """Return the smallest box that holds the accesses.

    Raises
    ------
    ScheduleError
        If an index is not affine, if accesses move differently with the loops around, or if the box leaves the buffer.
    """
    starts, extents = [], []
    for axis, size in enumerate(buffer.shape):
        spans = [_span(use.indices[axis], use.ranges, buffer) for use in found]
        bases = {base for base, _ in spans}
        if len(bases) != 1:
            raise ScheduleError(f"accesses of `{buffer.name}` move differently along axis {axis}")
        low, high = min(s.start for _, s in spans), max(s.stop for _, s in spans)
        start = next(iter(bases)) + Affine((), low)
        reach = start.bounds({n: around.get(n, range(1)) for n, _ in start.terms})
        unknown = [n for n, _ in start.terms if n not in around]
        if unknown or reach.start < 0 or reach.stop - 1 + high - low > size:
            raise ScheduleError(f"the part of `{buffer.name}` that is staged may leave its axis {axis} of {size}")
        starts.append(start)
        extents.append(high - low)
    return Box(tuple(starts), tuple(extents))


def _span(index: Expr, ranges: Ranges, buffer: Buffer) -> tuple[Affine, range]:
    """Split an index into what the loops around give, and the range of the rest."""
    form = affine(index)
    if form is None:
        raise ScheduleError(f"an index of `{buffer.name}` is not affine")
    base = Affine.of({n: c for n, c in form.terms if n not in ranges})
    return base, (form - base).bounds(ranges)


def redirected(stmt: Stmt, buffer: Buffer, staged: Buffer, starts: tuple[Affine, ...]) -> Stmt:
    """Make a statement use `staged` instead of `buffer`, indices counted from `starts`."""

    def expr(e: Expr) -> Expr:
        rebuilt = rebuild_expr(e, expr)
        if isinstance(rebuilt, Load) and rebuilt.buffer == buffer:
            return Load(staged, tuple(relative(i, s) for i, s in zip(rebuilt.indices, starts, strict=True)))
        return rebuilt

    def change(s: Stmt) -> Stmt:
        rebuilt = rebuild_stmt(s, change, expr)
        if isinstance(rebuilt, Store) and rebuilt.buffer == buffer:
            indices = tuple(relative(i, b) for i, b in zip(rebuilt.indices, starts, strict=True))
            return Store(staged, indices, rebuilt.value)
        return rebuilt

    return change(stmt)


def relative(index: Expr, start: Affine) -> Expr:
    """Return `index - start`, in affine normal form."""
    form = affine(index)
    assert form is not None
    return (form - start).to_expr(DType.I64)


def shifted(start: Affine, index: Expr) -> Expr:
    """Return `start + index`."""
    return index if start == Affine() else start.to_expr(DType.I64) + index
