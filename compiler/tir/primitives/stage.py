"""Stage a part of a buffer in another memory."""

from __future__ import annotations

from tilewright.compiler.tir.primitives.dependence import has_call
from tilewright.compiler.tir.primitives.loops import ScheduleError, around, check_fresh, find_loop, replace_stmt
from tilewright.compiler.tir.primitives.regions import Box, Use, box_of, redirected, shifted, uses
from tilewright.compiler.tir.simplify import affine
from tilewright.compiler.tir.visit import variables_of, walk_statements
from tilewright.isa.ir import Allocate, Block, Buffer, Const, Expr, For, Function, If, Load, Stmt, Store, Var, loops


def stage_read(function: Function, loop: str, buffer: str, space: str, name: str = "") -> Function:
    """Read a buffer through a copy of the part that one iteration of a loop needs.

    Before::

        for i in range(4):
          for j in range(8):
            y[i, j] = x[i * 8 + j]

    After `stage_read(f, "i", "x", "act")`::

        for i in range(4):
          with x_act: i8[8] in act:
            for x_act_0 in range(8):
              x_act[x_act_0] = x[i * 8 + x_act_0]
            for j in range(8):
              y[i, j] = x_act[j]

    Raises
    ------
    ScheduleError
        If the iteration writes the buffer or does not read it, or if what it reads is no box inside the buffer.
    """
    target, source, found = _prepared(function, loop, buffer)
    if any(use.is_write for use in found):
        raise ScheduleError(f"`{function.name}`: loop `{loop}` writes `{buffer}`: use stage_write")
    box, staged = _staged(function, target, source, found, space, name)
    copy = _copy(staged, source, box, is_in=True)
    body = redirected(target.body, source, staged, box.starts)
    return _with_body(function, target, Allocate(staged, Block((copy, *_parts(body)))))


def stage_write(function: Function, loop: str, buffer: str, space: str, name: str = "") -> Function:
    """Write a buffer through a copy of the part that one iteration of a loop touches.

    Before::

        for i in range(4):
          for j in range(8):
            y[i * 8 + j] = x[i, j]

    After `stage_write(f, "i", "y", "act")`; the part is copied in first, unless it is only written, and all of it::

        for i in range(4):
          with y_act: i8[8] in act:
            for j in range(8):
              y_act[j] = x[i, j]
            for y_act_0 in range(8):
              y[i * 8 + y_act_0] = y_act[y_act_0]

    Raises
    ------
    ScheduleError
        If the iteration does not write the buffer, or if what it touches is no box inside the buffer.
    """
    target, source, found = _prepared(function, loop, buffer)
    if not any(use.is_write for use in found):
        raise ScheduleError(f"`{function.name}`: loop `{loop}` does not write `{buffer}`: use stage_read")
    box, staged = _staged(function, target, source, found, space, name)
    body = _parts(redirected(target.body, source, staged, box.starts))
    out = _copy(staged, source, box, is_in=False)
    fill: tuple[Stmt, ...] = ()
    if not _is_overwritten(target.body, found, box):
        fill = (_copy(staged, source, box, is_in=True, suffix="in"),)
    return _with_body(function, target, Allocate(staged, Block((*fill, *body, out))))


def _prepared(function: Function, loop: str, name: str) -> tuple[For, Buffer, list[Use]]:
    target = find_loop(function, loop)
    allocated = [s.buffer for s in walk_statements(function) if isinstance(s, Allocate)]
    buffers = {b.name: b for b in (*function.buffers, *allocated)}
    if has_call(target.body):
        raise ScheduleError(
            f"`{function.name}`: loop `{loop}` holds a tensorized instruction: stage before tensorizing"
        )
    if name not in buffers:
        raise ScheduleError(f"`{function.name}` has no buffer `{name}`; it has {', '.join(buffers)}")
    if any(isinstance(s, Allocate) and s.buffer.name == name for s in walk_statements(target.body)):
        raise ScheduleError(f"`{function.name}`: buffer `{name}` exists only inside loop `{loop}`")
    found = list(uses(target.body, buffers[name]))
    if not found:
        raise ScheduleError(f"`{function.name}`: loop `{loop}` does not use `{name}`")
    return target, buffers[name], found


def _staged(
    function: Function, target: For, source: Buffer, found: list[Use], space: str, name: str
) -> tuple[Box, Buffer]:
    enclosing = (*around(function, target), target)
    ranges = {f.var.name: range(int(f.extent.value)) for f in enclosing if isinstance(f.extent, Const)}
    box = box_of(found, source, ranges)
    staged = Buffer(name or f"{source.name}_{space}", source.dtype, box.extents, space)
    check_fresh(function, staged.name, *(v.name for v in _axes(staged)))
    return box, staged


def _axes(staged: Buffer, suffix: str = "") -> list[Var]:
    return [Var(f"{staged.name}_{suffix}{axis}") for axis in range(len(staged.shape))]


def _copy(staged: Buffer, source: Buffer, box: Box, *, is_in: bool, suffix: str = "") -> Stmt:
    axes = _axes(staged, suffix)
    inside = tuple(axes)
    outside = tuple(shifted(start, axis) for start, axis in zip(box.starts, axes, strict=True))
    if is_in:
        store = Store(staged, inside, Load(source, outside))
    else:
        store = Store(source, outside, Load(staged, inside))
    return loops(zip(axes, box.extents, strict=True), store)


def _is_overwritten(body: Stmt, found: list[Use], box: Box) -> bool:
    """Whether the whole box is certainly written, and nothing of it read: one plain store that runs through it."""
    if len(found) != 1 or any(isinstance(s, If) for s in walk_statements(body)):
        return False
    (use,) = found
    return all(_covers(use.indices[axis], use) for axis in range(len(box.extents)) if box.extents[axis] > 1)


def _covers(index: Expr, use: Use) -> bool:
    """Whether an index runs through consecutive values: each inner variable once, by mixed radix."""
    form = affine(index)
    reach = 1
    for name, step in sorted(form.terms if form else (), key=lambda term: abs(term[1])):
        if name not in use.ranges:
            continue
        if step != reach or sum(name in variables_of(other) for other in use.indices) > 1:
            return False
        reach *= len(use.ranges[name])
    return form is not None


def _parts(stmt: Stmt) -> tuple[Stmt, ...]:
    return stmt.body if isinstance(stmt, Block) else (stmt,)


def _with_body(function: Function, target: For, body: Stmt) -> Function:
    return replace_stmt(function, target, For(target.var, target.extent, body, target.kind))
