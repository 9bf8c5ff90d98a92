"""Keep the lanes of a sum apart until its outer loops are done, so that no step adds across lanes.

Products of bytes are added in pairs, which processors do in the same step as multiplying. Integer addition wraps and
is associative, so the result is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.compiler.tir.byte_products import are_byte_products, paired
from tilewright.compiler.tir.visit import rebuild_stmt, variables_of, walk_expressions, walk_statements
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Load,
    Stmt,
    Store,
    Var,
    loops,
)

_MAX_LANES = 64
_UNROLL = 32


def defer_reductions(function: Function) -> Function:
    """Give every sum over a constant innermost loop, inside further summing loops, one partial sum per lane.

    Before::

        for r in range(n):
          for k in range(16):
            x[i] = x[i] + a[r, k] * w[r, k]

    After::

        with x_lanes: i32[..., 16] in local:
          x_lanes[...] = 0
          for r in range(n):
            for k in range(16):  # vectorized
              x_lanes[i, k] = x_lanes[i, k] + a[r, k] * w[r, k]
          x[...] = x[...] + the sum of x_lanes[..., k]

    Where `a` and `w` are signed bytes that lie behind each other, `x_lanes` has half the lanes, and `k // 2` for `k`.
    """
    return Function(function.name, function.scalars, function.buffers, _defer(function.body, frozenset()))


def _defer(stmt: Stmt, local: frozenset[str]) -> Stmt:
    if isinstance(stmt, Allocate):
        return Allocate(stmt.buffer, _defer(stmt.body, local | {stmt.buffer.name}))
    if isinstance(stmt, For):
        nest, core = _perfect_nest(stmt)
        deferred = _deferred(nest, core, local) if isinstance(core, Store) else None
        if deferred is not None:
            return deferred
    return rebuild_stmt(stmt, lambda inner: _defer(inner, local), lambda expr: expr)


def _perfect_nest(stmt: Stmt) -> tuple[list[For], Stmt]:
    nest = []
    while isinstance(stmt, For):
        nest.append(stmt)
        stmt = stmt.body
    return nest, stmt


def _deferred(nest: list[For], store: Store, local: frozenset[str]) -> Stmt | None:
    """Return the transformed nest, or None when it is not such a sum."""
    inner, summand = nest[-1], _summand(store)
    placed = _variables(store.indices)
    is_lane = isinstance(inner.extent, Const) and inner.var.name not in placed and inner.kind == "serial"
    outer_sums = [loop for loop in nest[:-1] if loop.var.name not in placed and not isinstance(loop.extent, Const)]
    if summand is None or not is_lane or not outer_sums or store.buffer.name not in local:
        return None
    assert isinstance(inner.extent, Const)
    count = int(inner.extent.value)
    lane = _lane(inner.var, count, summand)
    lanes = count if lane == inner.var else count // 2
    partial = Buffer(f"{store.buffer.name}_lanes", store.buffer.dtype, (*store.buffer.shape, lanes))
    if not 1 < count <= _MAX_LANES or store.buffer.dtype.is_float or _mentions(nest[0], partial.name):
        return None
    steps = _cleared(partial), _summed(nest, (*store.indices, lane), summand, partial), _folded(store.buffer, partial)
    return Allocate(partial, Block(steps))


def _summand(store: Store) -> Expr | None:
    """Return e of `x[i] = x[i] + e` where e does not read x."""
    match store.value:
        case Binary(BinaryOp.ADD, Load() as load, summand) if load == Load(store.buffer, store.indices):
            reads = (e.buffer.name for e in walk_expressions(summand) if isinstance(e, Load))
            return None if store.buffer.name in reads else summand
        case _:
            return None


def _variables(exprs: tuple[Expr, ...]) -> frozenset[str]:
    """Return the names of all variables in some expressions."""
    return frozenset[str]().union(*(variables_of(expr) for expr in exprs))


def _mentions(stmt: Stmt, name: str) -> bool:
    allocated = (s.buffer.name for s in walk_statements(stmt) if isinstance(s, Allocate | Store))
    loaded = (e.buffer.name for e in walk_expressions(stmt) if isinstance(e, Load))
    return name in {*allocated, *loaded}


def _elements(buffer: Buffer) -> tuple[list[tuple[Var, int]], tuple[Var, ...]]:
    """Return loops over all elements of a buffer, and the loops' variables."""
    variables = tuple(Var(f"{buffer.name}_{position}") for position in range(len(buffer.shape)))
    return list(zip(variables, buffer.shape, strict=True)), variables


def _cleared(partial: Buffer) -> Stmt:
    nest, place = _elements(partial)
    return loops(nest, Store(partial, place, Const(0, partial.dtype)))


def _folded(buffer: Buffer, partial: Buffer) -> Stmt:
    """Add up the lanes of each element in a vector, unless they are two: transposing them costs more."""
    nest, place = _elements(partial)
    target = place[:-1]
    body: Stmt = Store(buffer, target, Load(buffer, target) + Load(partial, place))
    for depth, (var, extent) in enumerate(reversed(nest)):
        body = For(var, Const(extent, var.type), body, "unrolled" if depth or extent == 2 else "vectorized")
    return body


def _lane(var: Var, count: int, summand: Expr) -> Expr:
    """Return the partial sum that a summand is added to."""
    return paired(var) if count % 2 == 0 and are_byte_products(var, summand) else var


def _summed(nest: list[For], place: tuple[Expr, ...], summand: Expr, partial: Buffer) -> Stmt:
    body: Stmt = Store(partial, place, Load(partial, place) + summand)
    for loop, kind in zip(reversed(nest), _kinds(nest), strict=True):
        body = For(loop.var, loop.extent, body, kind)
    return body


def _kinds(nest: list[For]) -> Iterator[str]:
    """Kinds from the innermost loop outwards: its lanes in vectors, small constant loops around it unrolled."""
    yield "vectorized"
    copies = 1
    for loop in reversed(nest[:-1]):
        copies *= int(loop.extent.value) if isinstance(loop.extent, Const) else _UNROLL + 1
        yield "unrolled" if copies <= _UNROLL else loop.kind
