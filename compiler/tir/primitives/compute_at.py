"""Compute a temporary where it is used."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.loops import (
    ScheduleError,
    around,
    constant_extent,
    find_loop,
    replace_stmt,
)
from tilewright.compiler.tir.primitives.regions import Box, box_of, redirected, shifted, uses
from tilewright.compiler.tir.simplify import substitute
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import Allocate, Block, Buffer, Const, For, Function, Load, Stmt, Store, Var, loops


def compute_at(function: Function, buffer: str, loop: str) -> Function:
    """Compute a temporary inside a loop of its consumer, only the part that an iteration needs.

    Before::

        with t: i8[32] in local:
          for k in range(32):
            t[k] = x[k] + x[k]
          for i in range(4):
            for j in range(8):
              y[i, j] = t[i * 8 + j]

    After `compute_at(f, "t", "i")`::

        for i in range(4):
          with t: i8[8] in local:
            for k in range(8):
              t[k] = x[i * 8 + k] + x[i * 8 + k]
            for j in range(8):
              y[i, j] = t[j]

    Raises
    ------
    ScheduleError
        If the temporary is not computed by a nest of its own, one loop for each axis, if it is used elsewhere, or if
        the consumer writes what the nest reads.
    """
    allocation = _allocation(function, buffer)
    producer, consumers = _parts(function, allocation)
    target = find_loop(function, loop)
    inside = [u for s in consumers for u in uses(s, allocation.buffer)]
    here = list(uses(target.body, allocation.buffer))
    if not here or len(here) != len(inside):
        raise ScheduleError(f"`{function.name}`: `{buffer}` is not used in loop `{loop}` alone")
    axes = _axes(function, producer, allocation.buffer)
    _check_reads(function, producer, consumers, allocation.buffer)
    enclosing = (*around(function, target), target)
    ranges = {f.var.name: range(int(f.extent.value)) for f in enclosing if isinstance(f.extent, Const)}
    box = box_of(here, allocation.buffer, ranges)
    part = Buffer(buffer, allocation.buffer.dtype, box.extents, allocation.buffer.space)
    body = redirected(target.body, allocation.buffer, part, box.starts)
    rest = body.body if isinstance(body, Block) else (body,)
    inner = Allocate(part, Block((_moved(producer, axes, allocation.buffer, part, box), *rest)))
    changed = replace_stmt(function, target, For(target.var, target.extent, inner, target.kind))
    old = next(s for s in walk_statements(changed) if isinstance(s, Allocate) and s.buffer == allocation.buffer)
    left = old.body.body[1:] if isinstance(old.body, Block) else ()
    return replace_stmt(changed, old, left[0] if len(left) == 1 else Block(left))


def _allocation(function: Function, name: str) -> Allocate:
    for stmt in walk_statements(function):
        if isinstance(stmt, Allocate) and stmt.buffer.name == name:
            return stmt
    raise ScheduleError(f"`{function.name}` allocates no `{name}`")


def _parts(function: Function, allocation: Allocate) -> tuple[Stmt, tuple[Stmt, ...]]:
    body = allocation.body
    if not isinstance(body, Block) or len(body.body) < 2:
        raise ScheduleError(f"`{function.name}`: `{allocation.buffer.name}` is not computed by a nest of its own")
    return body.body[0], body.body[1:]


def _axes(function: Function, producer: Stmt, buffer: Buffer) -> dict[str, int]:
    """Return the axis of each of the producer's outer loops, which together run through the buffer."""
    stores = [s for s in walk_statements(producer) if isinstance(s, Store) and s.buffer == buffer]
    chain: dict[str, int] = {}
    while isinstance(producer, For):
        chain[producer.var.name] = constant_extent(function, producer)
        producer = producer.body
    names = [index.name for index in stores[0].indices if isinstance(index, Var)] if stores else []
    complete = all(s.indices == stores[0].indices for s in stores) and len(names) == len(buffer.shape)
    if not complete or [chain.get(name) for name in names] != list(buffer.shape) or len(set(names)) != len(names):
        raise ScheduleError(f"`{function.name}`: `{buffer.name}` is not computed by one loop for each axis")
    return {name: axis for axis, name in enumerate(names)}


def _check_reads(function: Function, producer: Stmt, consumers: tuple[Stmt, ...], buffer: Buffer) -> None:
    written = {s.buffer.name for s in walk_statements(producer) if isinstance(s, Store)}
    private = {s.buffer.name for s in walk_statements(producer) if isinstance(s, Allocate)}
    if written - private != {buffer.name}:
        raise ScheduleError(f"`{function.name}`: the nest that computes `{buffer.name}` writes other buffers")
    reads = {e.buffer.name for e in walk_expressions(producer) if isinstance(e, Load)} - {buffer.name}
    for stmt in (s for consumer in consumers for s in walk_statements(consumer)):
        if isinstance(stmt, Store) and stmt.buffer.name in reads:
            raise ScheduleError(
                f"`{function.name}`: `{stmt.buffer.name}` changes before `{buffer.name}` would be computed"
            )


def _moved(producer: Stmt, axes: dict[str, int], buffer: Buffer, part: Buffer, box: Box) -> Stmt:
    nest: list[tuple[Var, int]] = []
    while isinstance(producer, For):
        extent = int(producer.extent.value) if isinstance(producer.extent, Const) else 0
        nest.append((producer.var, box.extents[axes[producer.var.name]] if producer.var.name in axes else extent))
        producer = producer.body
    starts = {v.name: shifted(box.starts[axes[v.name]], v) for v, _ in nest if v.name in axes}
    body = substitute(producer, starts)
    return loops(nest, redirected(body, buffer, part, box.starts))
