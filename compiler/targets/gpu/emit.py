"""Kernels of the tensor IR as LLVM IR.

Indices are computed in 32 bits: buffers are smaller than 2 GB. Loops over threads become the threads' numbers, loops
of kind `unrolled` are written out here, so that every place in a register buffer is a constant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.dialects import GLOBAL, NVPTX, SHARED, Dialect
from tilewright.compiler.targets.gpu.emit_state import Emitter, Place, opaque
from tilewright.compiler.targets.gpu.emit_values import as_value, index_of, moved, pointer_to, value_of
from tilewright.compiler.targets.gpu.instruction import Operands
from tilewright.compiler.targets.gpu.kernel import WARP, WARPGROUP, Kernel
from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import I32, Value
from tilewright.compiler.tir.visit import walk_statements
from tilewright.isa.ir import (
    Allocate,
    Block,
    Buffer,
    Call,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
)

_I8 = ll.IntType(8)


def emit_kernels(kernels: Sequence[Kernel], dialect: Dialect = NVPTX) -> str:
    """Return LLVM IR text of a module with the kernels, each a kernel of its name.

    Raises
    ------
    CodegenError
        For what has no machine code: unknown instructions, or places in registers that are not constant.
    """
    module = ll.Module(name="tilewright")
    module.triple = dialect.triple
    for kernel in kernels:
        _emit_kernel(module, kernel, dialect)
    text = _with_float_flags(str(module))
    return dialect.finished(text, [(kernel.name, kernel.threads, kernel.min_blocks) for kernel in kernels])


def _shared_memory(module: ll.Module, kernel: Kernel, dialect: Dialect) -> Value:
    """Declare a block's memory: what a launch gives, or where no launch does, of the kernel's size."""
    name = f"{kernel.name}_shared" if dialect.is_portable else "shared_memory"
    found = module.globals.get(name)
    if found is None:
        size = kernel.shared_bytes if dialect.is_portable else 0
        found = ll.GlobalVariable(module, ll.ArrayType(_I8, size), name, addrspace=SHARED)
        found.align = 1024
        if dialect.is_portable:
            found.linkage, found.initializer = "internal", ll.Constant(found.value_type, ll.Undefined)
    return found


def _with_float_flags(text: str) -> str:
    """Let products and sums become one instruction, and comparisons the instructions for minimum and maximum."""
    text = re.sub(r"= (fmul|fadd|fsub) (?=float)", r"= \1 contract ", text)
    return re.sub(r"= select (?=i1 \S+, float)", "= select nnan nsz ", text)


def _emit_kernel(module: ll.Module, kernel: Kernel, dialect: Dialect) -> None:
    function = kernel.function
    shared = None if dialect.is_portable and not kernel.shared_bytes else _shared_memory(module, kernel, dialect)
    pointer = ll.PointerType(addrspace=GLOBAL)
    kinds = [pointer] * (len(function.buffers) + len(kernel.tensor_maps))
    target = ll.Function(module, ll.FunctionType(ll.VoidType(), kinds), name=kernel.name)
    target.calling_convention = dialect.convention
    target.attributes.add("nounwind")
    target.attributes.add("convergent")
    entry, start = target.append_basic_block("entry"), target.append_basic_block("start")
    builders = ll.IRBuilder(start), ll.IRBuilder(entry)
    emitter = Emitter(kernel, dialect, *builders, shared=shared, words=_word_buffers(kernel))
    for buffer, argument in zip(function.buffers, target.args, strict=False):
        argument.name = buffer.name
        if buffer.name in kernel.constants:
            argument.add_attribute("noalias")
        emitter.places[buffer.name] = Place(buffer, argument)
    for tensor_map, argument in zip(kernel.tensor_maps, target.args[len(function.buffers) :], strict=True):
        argument.name = f"map_{tensor_map.buffer}"
        emitter.maps[tensor_map.buffer] = argument
    _stmt(emitter, function.body)
    emitter.builder.ret_void()
    emitter.entry.branch(start)


def _word_buffers(kernel: Kernel) -> frozenset[str]:
    """Name the buffers that instructions use, which take them as words of 32 bits."""
    calls = (s for s in walk_statements(kernel.function) if isinstance(s, Call))
    return frozenset(key.partition("@")[2] for call in calls for key, _ in call.operands if "@" in key)


# ---- statements ----------------------------------------------------------------------------------------------


def _stmt(e: Emitter, stmt: Stmt) -> None:
    match stmt:
        case For():
            _for(e, stmt)
        case Store(buffer, indices, value):
            e.known.clear()
            scalars.store(e.builder, pointer_to(e, buffer, indices), value_of(e, value), buffer.dtype)
        case If(condition, then, otherwise):
            _if(e, condition, then, otherwise)
        case Block(body):
            for inner in body:
                _stmt(e, inner)
        case Allocate(buffer, body):
            e.places[buffer.name] = _allocated(e, buffer)
            _stmt(e, body)
        case Call(name, operands):
            _call(e, name, operands)
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _for(e: Emitter, stmt: For) -> None:
    e.known.clear()
    extent = index_of(e, stmt.extent)
    kind = stmt.kind
    if kind.startswith("bound:"):
        _bound(e, stmt, kind.removeprefix("bound:"))
    elif kind == "vectorized":
        _copy(e, stmt, int(extent))
    elif isinstance(extent, int) and (kind == "unrolled" or extent == 1):
        for value in range(extent):
            e.variables[stmt.var.name] = value
            _stmt(e, stmt.body)
    else:
        _serial(e, stmt, as_value(extent))


def _serial(e: Emitter, stmt: For, extent: Value) -> None:
    """Emit a loop that runs at least once where its extent is a constant."""
    function = e.builder.function
    body, after = function.append_basic_block("loop"), function.append_basic_block("after")
    before = e.builder.block
    if isinstance(extent, ll.Constant):
        e.builder.branch(body)
    else:
        e.builder.cbranch(e.builder.icmp_signed("<", I32(0), extent), body, after)
    e.builder.position_at_end(body)
    index = e.builder.phi(I32)
    index.add_incoming(I32(0), before)
    e.variables[stmt.var.name] = index
    _stmt(e, stmt.body)
    following = e.builder.add(index, I32(1), flags=("nuw", "nsw"))
    index.add_incoming(following, e.builder.block)
    branch = e.builder.cbranch(e.builder.icmp_signed("<", following, extent), body, after)
    module = e.builder.module
    tag = ll.MetaDataString(module, f"tilewright.loop.{len(module.metadata)}")
    hint = module.add_metadata([ll.MetaDataString(module, "llvm.loop.unroll.disable")])
    branch.set_metadata("llvm.loop", module.add_metadata([tag, hint]))
    e.builder.position_at_end(after)


def _bound(e: Emitter, stmt: For, axis: str) -> None:
    """Emit the body for this thread, guarded where fewer threads than the block has take part."""
    number = _axis_number(e, axis)
    e.variables[stmt.var.name] = number
    available = e.kernel.threads // _SIZES[axis] if axis in _SIZES else None
    if available is not None:
        e.thread_variables.add(stmt.var.name)
    extent = index_of(e, stmt.extent)
    if available is None or extent == available:
        _stmt(e, stmt.body)
        return
    with e.builder.if_then(e.builder.icmp_unsigned("<", number, as_value(extent))):
        e.known.clear()
        _stmt(e, stmt.body)
    e.known.clear()


_SIZES = {"thread": 1, "warp": WARP, "warpgroup": WARPGROUP}
_AXES = ("block.x", "block.y", *_SIZES)


def _axis_number(e: Emitter, axis: str) -> Value:
    if axis not in _AXES:
        raise CodegenError(f"`{e.kernel.name}`: a loop cannot be bound to `{axis}`, only to {', '.join(_AXES)}")
    source = "thread" if axis in _SIZES else axis
    key = f"#{source}"
    if key not in e.variables:
        e.variables[key] = e.dialect.number(e.entry, source)
    number = e.variables[key]
    size = _SIZES.get(axis, 1)
    return e.builder.lshr(number, I32(size.bit_length() - 1)) if size > 1 else number


def _if(e: Emitter, condition: Expr, then: Stmt, otherwise: Stmt | None) -> None:
    e.known.clear()
    holds = value_of(e, condition)
    if isinstance(holds, ll.Constant):
        chosen = then if holds.constant else otherwise
        if chosen is not None:
            _stmt(e, chosen)
        return
    if otherwise is None:
        with e.builder.if_then(holds):
            e.known.clear()
            _stmt(e, then)
        e.known.clear()
        return
    with e.builder.if_else(holds) as (yes, no):
        with yes:
            e.known.clear()
            _stmt(e, then)
        with no:
            e.known.clear()
            _stmt(e, otherwise)
    e.known.clear()


def _allocated(e: Emitter, buffer: Buffer) -> Place:
    if buffer.space in ("shared", "swizzled"):
        offset = I32(e.kernel.shared_places[buffer.name])
        return Place(buffer, opaque(e.entry.gep(e.shared, [offset], inbounds=True, source_etype=_I8), SHARED))
    if buffer.space != "register":
        raise CodegenError(f"`{e.kernel.name}`: buffer `{buffer.name}` cannot be allocated in `{buffer.space}`")
    pointer = e.entry.alloca(ll.ArrayType(scalars.memory_type(buffer.dtype), buffer.shape[1]), name=buffer.name)
    pointer.align = 16
    return Place(buffer, opaque(pointer, e.dialect.private))


def _copy(e: Emitter, stmt: For, count: int) -> None:
    """Emit a copy of neighbouring elements."""
    body = stmt.body
    if not (isinstance(body, Store) and isinstance(body.value, Load)):
        raise CodegenError(f"`{e.kernel.name}`: a vectorized loop must be one copy")
    e.variables[stmt.var.name] = 0
    target, source = body.buffer, body.value.buffer
    size = count * (target.dtype.bits // 8)
    to = pointer_to(e, target, body.indices)
    origin = pointer_to(e, source, body.value.indices)
    is_async = target.space in ("shared", "swizzled") and source.space == "dram"
    if is_async and not e.dialect.is_portable:
        _async_copy(e, to, origin, size)
        return
    kind = _vector_type(e, target, source, count, size)
    loaded = e.builder.load(origin, typ=kind, align=min(size, 16))
    e.builder.store(loaded, to, align=min(size, 16))


def _vector_type(e: Emitter, target: Buffer, source: Buffer, count: int, size: int) -> Any:
    """Words where instructions take the registers, or where both sides are memory; elements otherwise."""
    in_registers = [b for b in (target, source) if b.space == "register"]
    if size % 4 == 0 and all(b.name in e.words for b in in_registers):
        return I32 if size == 4 else ll.VectorType(I32, size // 4)
    element = scalars.memory_type(target.dtype)
    return element if count == 1 else ll.VectorType(element, count)


def _async_copy(e: Emitter, to: Value, origin: Value, size: int) -> None:
    kind = ll.FunctionType(ll.VoidType(), [I32, ll.PointerType(addrspace=GLOBAL)])
    cache = "cg" if size == 16 else "ca"
    address = e.builder.ptrtoint(to, I32)
    e.builder.asm(kind, f"cp.async.{cache}.shared.global [$0], [$1], {size};", "r,l", [address, origin], True)


def _call(e: Emitter, name: str, operands: tuple[tuple[str, Expr], ...]) -> None:
    e.known.clear()
    e.dialect.call(e.kernel.name, name, e.builder, _operands(e, operands))


def _operands(e: Emitter, operands: tuple[tuple[str, Expr], ...]) -> Operands:
    values: dict[str, Value | int] = {}
    pointers: dict[str, Value] = {}
    for key, expr in operands:
        role, _, name = key.partition("@")
        if not name:
            values[role] = index_of(e, expr)
            continue
        place = e.places[name]
        pointers[role] = moved(e, place, _row_part(e, place, expr))
        if name in e.maps:
            pointers[f"{role}.map"] = e.maps[name]
    return Operands(values, pointers)


def _row_part(e: Emitter, place: Place, expr: Expr) -> Value | int:
    """Give an element's position; in registers the one in this thread's row, wherever the row is."""
    if not place.is_register:
        return index_of(e, expr)
    variables = e.variables
    e.variables = {**variables, **dict.fromkeys(e.thread_variables, 0)}
    position = index_of(e, expr)
    e.variables = variables
    if not isinstance(position, int):
        raise CodegenError(f"`{e.kernel.name}`: a place in the registers `{place.buffer.name}` is not constant")
    return position % place.buffer.shape[1]
