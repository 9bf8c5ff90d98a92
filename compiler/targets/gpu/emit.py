"""Kernels of the tensor IR as LLVM IR for NVPTX.

Indices are computed in 32 bits: buffers are smaller than 2 GB. Loops over threads become the threads' numbers, loops
of kind `unrolled` are written out here, so that every place in a register buffer is a constant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.instruction import Operands
from tilewright.compiler.targets.gpu.instructions import INSTRUCTIONS
from tilewright.compiler.targets.gpu.kernel import WARP, WARPGROUP, Kernel
from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.arithmetic import binary
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    DType,
    Expr,
    For,
    If,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Var,
)

_GLOBAL, _SHARED = 1, 3
_I8 = ll.IntType(8)


@dataclass(frozen=True)
class _Place:
    """Where a buffer lies: a pointer, and in registers its elements in the rows of one thread."""

    buffer: Buffer
    pointer: Value

    @property
    def is_register(self) -> bool:
        return self.buffer.space == "register"


@dataclass
class _Emitter:
    """The state of emitting one kernel."""

    kernel: Kernel
    builder: ll.IRBuilder
    entry: ll.IRBuilder
    variables: dict[str, Value | int] = field(default_factory=dict)
    thread_variables: set[str] = field(default_factory=set)
    places: dict[str, _Place] = field(default_factory=dict)
    maps: dict[str, Value] = field(default_factory=dict)
    known: dict[int, Value] = field(default_factory=dict)
    shared: Value = None
    words: frozenset[str] = frozenset()


def emit_kernels(kernels: Sequence[Kernel]) -> str:
    """Return LLVM IR text of a module with the kernels, each a `ptx_kernel` of its name.

    Raises
    ------
    CodegenError
        For what has no machine code: unknown instructions, or places in registers that are not constant.
    """
    module = ll.Module(name="tilewright")
    module.triple = "nvptx64-nvidia-cuda"
    shared = ll.GlobalVariable(module, ll.ArrayType(_I8, 0), "shared_memory", addrspace=_SHARED)
    shared.align = 1024
    for kernel in kernels:
        _emit_kernel(module, kernel, shared)
    return _with_kernel_attributes(_with_float_flags(str(module)), kernels)


def _with_float_flags(text: str) -> str:
    """Let products and sums become one instruction, and comparisons the instructions for minimum and maximum."""
    text = re.sub(r"= (fmul|fadd|fsub) (?=float)", r"= \1 contract ", text)
    return re.sub(r"= select (?=i1 \S+, float)", "= select nnan nsz ", text)


def _with_kernel_attributes(text: str, kernels: Sequence[Kernel]) -> str:
    """Add the attributes that llvmlite cannot write: launch bounds."""
    for kernel in kernels:
        bounds = f'"nvvm.maxntid"="{kernel.threads}" "nvvm.minctasm"="{kernel.min_blocks}"'
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if line.startswith("define") and f'@"{kernel.name}"(' in line:
                lines[number] = f"{line} {bounds}" if not line.rstrip().endswith("{") else line
        text = "\n".join(lines)
    return text


def _emit_kernel(module: ll.Module, kernel: Kernel, shared: Value) -> None:
    function = kernel.function
    pointer = ll.PointerType(addrspace=_GLOBAL)
    kinds = [pointer] * (len(function.buffers) + len(kernel.tensor_maps))
    target = ll.Function(module, ll.FunctionType(ll.VoidType(), kinds), name=kernel.name)
    target.calling_convention = "ptx_kernel"
    target.attributes.add("nounwind")
    target.attributes.add("convergent")
    entry, start = target.append_basic_block("entry"), target.append_basic_block("start")
    emitter = _Emitter(kernel, ll.IRBuilder(start), ll.IRBuilder(entry), shared=shared, words=_word_buffers(kernel))
    for buffer, argument in zip(function.buffers, target.args, strict=False):
        argument.name = buffer.name
        if buffer.name in kernel.constants:
            argument.add_attribute("noalias")
        emitter.places[buffer.name] = _Place(buffer, argument)
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


def _stmt(e: _Emitter, stmt: Stmt) -> None:
    match stmt:
        case For():
            _for(e, stmt)
        case Store(buffer, indices, value):
            e.known.clear()
            scalars.store(e.builder, _pointer(e, buffer, indices), _expr(e, value), buffer.dtype)
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


def _for(e: _Emitter, stmt: For) -> None:
    e.known.clear()
    extent = _index(e, stmt.extent)
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
        _serial(e, stmt, _as_value(extent))


def _serial(e: _Emitter, stmt: For, extent: Value) -> None:
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


def _bound(e: _Emitter, stmt: For, axis: str) -> None:
    """Emit the body for this thread, guarded where fewer threads than the block has take part."""
    number = _axis_number(e, axis)
    e.variables[stmt.var.name] = number
    available = e.kernel.threads // _SIZES[axis] if axis in _SIZES else None
    if available is not None:
        e.thread_variables.add(stmt.var.name)
    extent = _index(e, stmt.extent)
    if available is None or extent == available:
        _stmt(e, stmt.body)
        return
    with e.builder.if_then(e.builder.icmp_unsigned("<", number, _as_value(extent))):
        e.known.clear()
        _stmt(e, stmt.body)
    e.known.clear()


_SIZES = {"thread": 1, "warp": WARP, "warpgroup": WARPGROUP}
_SPECIAL = {"block.x": "ctaid.x", "block.y": "ctaid.y", **dict.fromkeys(_SIZES, "tid.x")}


def _axis_number(e: _Emitter, axis: str) -> Value:
    if axis not in _SPECIAL:
        raise CodegenError(f"`{e.kernel.name}`: a loop cannot be bound to `{axis}`, only to {', '.join(_SPECIAL)}")
    name = f"llvm.nvvm.read.ptx.sreg.{_SPECIAL[axis]}"
    read = e.builder.module.globals.get(name) or ll.Function(e.builder.module, ll.FunctionType(I32, []), name)
    key = f"#{_SPECIAL[axis]}"
    if key not in e.variables:
        e.variables[key] = e.entry.call(read, [])
    number = e.variables[key]
    size = _SIZES.get(axis, 1)
    return e.builder.lshr(number, I32(size.bit_length() - 1)) if size > 1 else number


def _if(e: _Emitter, condition: Expr, then: Stmt, otherwise: Stmt | None) -> None:
    e.known.clear()
    holds = _expr(e, condition)
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


def _allocated(e: _Emitter, buffer: Buffer) -> _Place:
    if buffer.space in ("shared", "swizzled"):
        offset = I32(e.kernel.shared_places[buffer.name])
        return _Place(buffer, _opaque(e.entry.gep(e.shared, [offset], inbounds=True, source_etype=_I8), _SHARED))
    if buffer.space != "register":
        raise CodegenError(f"`{e.kernel.name}`: buffer `{buffer.name}` cannot be allocated in `{buffer.space}`")
    pointer = e.entry.alloca(scalars.memory_type(buffer.dtype), size=I32(buffer.shape[1]), name=buffer.name)
    pointer.align = 16
    return _Place(buffer, _opaque(pointer))


def _opaque(pointer: Value, space: int = 0) -> Value:
    """Forget what llvmlite thinks that a pointer points to: copies are as wide as they can be."""
    pointer.type = ll.PointerType(addrspace=space)
    return pointer


def _copy(e: _Emitter, stmt: For, count: int) -> None:
    """Emit a copy of neighbouring elements."""
    body = stmt.body
    if not (isinstance(body, Store) and isinstance(body.value, Load)):
        raise CodegenError(f"`{e.kernel.name}`: a vectorized loop must be one copy")
    e.variables[stmt.var.name] = 0
    target, source = body.buffer, body.value.buffer
    size = count * (target.dtype.bits // 8)
    to = _pointer(e, target, body.indices)
    origin = _pointer(e, source, body.value.indices)
    if target.space in ("shared", "swizzled") and source.space == "dram":
        _async_copy(e, to, origin, size)
        return
    kind = _vector_type(e, target, source, count, size)
    loaded = e.builder.load(origin, typ=kind, align=min(size, 16))
    e.builder.store(loaded, to, align=min(size, 16))


def _vector_type(e: _Emitter, target: Buffer, source: Buffer, count: int, size: int) -> Any:
    """Words where instructions take the registers, or where both sides are memory; elements otherwise."""
    in_registers = [b for b in (target, source) if b.space == "register"]
    if size % 4 == 0 and all(b.name in e.words for b in in_registers):
        return I32 if size == 4 else ll.VectorType(I32, size // 4)
    element = scalars.memory_type(target.dtype)
    return element if count == 1 else ll.VectorType(element, count)


def _async_copy(e: _Emitter, to: Value, origin: Value, size: int) -> None:
    kind = ll.FunctionType(ll.VoidType(), [I32, ll.PointerType(addrspace=_GLOBAL)])
    cache = "cg" if size == 16 else "ca"
    address = e.builder.ptrtoint(to, I32)
    e.builder.asm(kind, f"cp.async.{cache}.shared.global [$0], [$1], {size};", "r,l", [address, origin], True)


def _call(e: _Emitter, name: str, operands: tuple[tuple[str, Expr], ...]) -> None:
    instruction = INSTRUCTIONS.get(name)
    if instruction is None:
        raise CodegenError(f"`{e.kernel.name}`: `{name}` is no instruction of a GPU")
    e.known.clear()
    instruction.emit(e.builder, _operands(e, operands))


def _operands(e: _Emitter, operands: tuple[tuple[str, Expr], ...]) -> Operands:
    values: dict[str, Value | int] = {}
    pointers: dict[str, Value] = {}
    for key, expr in operands:
        role, _, name = key.partition("@")
        if not name:
            values[role] = _index(e, expr)
            continue
        place = e.places[name]
        pointers[role] = _moved(e, place, _row_part(e, place, expr))
        if name in e.maps:
            pointers[f"{role}.map"] = e.maps[name]
    return Operands(values, pointers)


def _row_part(e: _Emitter, place: _Place, expr: Expr) -> Value | int:
    """Give an element's position; in registers the one in this thread's row, wherever the row is."""
    if not place.is_register:
        return _index(e, expr)
    variables = e.variables
    e.variables = {**variables, **dict.fromkeys(e.thread_variables, 0)}
    position = _index(e, expr)
    e.variables = variables
    if not isinstance(position, int):
        raise CodegenError(f"`{e.kernel.name}`: a place in the registers `{place.buffer.name}` is not constant")
    return position % place.buffer.shape[1]


# ---- indices -------------------------------------------------------------------------------------------------


def _as_value(index: Value | int) -> Value:
    return I32(index) if isinstance(index, int) else index


def _pointer(e: _Emitter, buffer: Buffer, indices: tuple[Expr, ...]) -> Value:
    place = e.places[buffer.name]
    if place.is_register:
        position = _index(e, indices[1])
        if not isinstance(position, int):
            raise CodegenError(f"`{e.kernel.name}`: a place in the registers `{buffer.name}` is not constant")
        return _moved(e, place, position)
    flat: Value | int = 0
    for index, extent in zip(indices, buffer.shape, strict=True):
        value = _index(e, index)
        flat = _combined(e, BinaryOp.ADD, _combined(e, BinaryOp.MUL, flat, extent), value) if flat != 0 else value
    return _moved(e, place, _swizzled(e, flat, buffer.dtype) if buffer.space == "swizzled" else flat)


def _swizzled(e: _Emitter, position: Value | int, kind: DType) -> Value:
    """Exchange pieces of 16 bytes in a row of 128 by the row's number; positions count elements."""
    value = _as_value(position)
    turn = e.builder.and_(e.builder.lshr(value, I32(3)), I32(0x70 * 8 // kind.bits))
    return e.builder.xor(value, turn)


def _moved(e: _Emitter, place: _Place, position: Value | int) -> Value:
    if isinstance(position, int) and position == 0:
        return place.pointer
    kind = scalars.memory_type(place.buffer.dtype)
    moved = e.builder.gep(place.pointer, [_as_value(position)], inbounds=True, source_etype=kind)
    return _opaque(moved, place.pointer.type.addrspace)


def _index(e: _Emitter, expr: Expr) -> Value | int:
    """Compute an index: an int where everything is known, else 32 bits."""
    match expr:
        case Const(value):
            return int(value)
        case Var(name):
            return e.variables[name]
    known = e.known.get(id(expr))
    if known is not None:
        return known
    match expr:
        case Binary(op, left, right) if not op.is_comparison:
            result = _combined(e, op, _index(e, left), _index(e, right), _is_natural(left))
        case Select(condition, if_true, if_false):
            yes, no = _as_value(_index(e, if_true)), _as_value(_index(e, if_false))
            result = e.builder.select(_expr(e, condition), yes, no)
        case Lookup():
            result = scalars.cast(e.builder, _looked_up(e, expr), expr.dtype, DType.I32)
        case Cast(_, inner):
            result = scalars.cast(e.builder, _expr(e, inner), inner.dtype, DType.I32)
        case _:
            raise CodegenError(f"`{e.kernel.name}`: `{expr!r}` is no index")
    if not isinstance(result, int):
        e.known[id(expr)] = result
    return result


def _is_natural(expr: Expr) -> bool:
    """Whether an index cannot be negative."""
    match expr:
        case Const(value):
            return value >= 0
        case Var():
            return True
        case Binary(BinaryOp.ADD | BinaryOp.MUL | BinaryOp.DIV | BinaryOp.MOD | BinaryOp.MIN, left, right):
            return _is_natural(left) and _is_natural(right)
    return False


def _combined(
    e: _Emitter, op: BinaryOp, left: Value | int, right: Value | int, is_natural: bool = False
) -> Value | int:
    if isinstance(left, int) and isinstance(right, int):
        return int(binary(op, DType.I64)(left, right))
    if (op == BinaryOp.MUL and 0 in (left, right)) or (op == BinaryOp.MOD and right == 1):
        return 0
    if right == (1 if op in (BinaryOp.MUL, BinaryOp.DIV) else 0) and op in _WITH_NEUTRAL:
        return left
    if left == (1 if op == BinaryOp.MUL else 0) and op in (BinaryOp.MUL, BinaryOp.ADD):
        return right
    a, b = _as_value(left), _as_value(right)
    if op in (BinaryOp.DIV, BinaryOp.MOD) and is_natural:
        return e.builder.udiv(a, b) if op == BinaryOp.DIV else e.builder.urem(a, b)
    if op in (BinaryOp.ADD, BinaryOp.MUL):
        return (e.builder.add if op == BinaryOp.ADD else e.builder.mul)(a, b, flags=("nsw",))
    return scalars.binary(e.builder, op, a, b, DType.I32)


_WITH_NEUTRAL = (BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.DIV, BinaryOp.SHL, BinaryOp.SHR)


# ---- values --------------------------------------------------------------------------------------------------


def _is_index(expr: Expr) -> bool:
    return expr.dtype == DType.I64 and not any(
        isinstance(part, Load | Cast | Lookup) for part in walk_expressions(expr)
    )


def _expr(e: _Emitter, expr: Expr) -> Value:
    """Compute a value; one that occurs twice in a statement as the same object is computed once."""
    value = e.known.get(-id(expr))
    if value is None:
        value = e.known[-id(expr)] = _new(e, expr)
    return value


def _new(e: _Emitter, expr: Expr) -> Value:
    match expr:
        case Const(value, dtype):
            return scalars.constant(value, dtype)
        case Binary(op, left, right) if op.is_comparison and _is_index(left) and _is_index(right):
            a, b = _index(e, left), _index(e, right)
            if isinstance(a, int) and isinstance(b, int):
                return ll.Constant(ll.IntType(1), int(binary(op, DType.I64)(a, b)))
            return scalars.binary(e.builder, op, _as_value(a), _as_value(b), DType.I32)
        case _ if _is_index(expr):
            index = _index(e, expr)
            return I64(index) if isinstance(index, int) else e.builder.sext(index, I64)
        case Binary(op, left, right):
            return scalars.binary(e.builder, op, _expr(e, left), _expr(e, right), left.dtype)
        case Select(condition, if_true, if_false):
            return e.builder.select(*(_expr(e, part) for part in (condition, if_true, if_false)))
        case Cast(dtype, inner):
            return scalars.cast(e.builder, _expr(e, inner), inner.dtype, dtype)
        case Load(buffer, indices):
            return scalars.load(e.builder, _pointer(e, buffer, indices), buffer.dtype)
        case Lookup():
            return _looked_up(e, expr)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _looked_up(e: _Emitter, expr: Lookup) -> Value:
    """Read an entry of a constant table, which stands in the module once."""
    module, table = e.builder.module, expr.table
    kind = scalars.memory_type(table.dtype)
    found = module.globals.get(table.name)
    if found is None:
        found = ll.GlobalVariable(module, ll.ArrayType(kind, len(table.values)), table.name, addrspace=_GLOBAL)
        found.global_constant, found.linkage = True, "internal"
        found.initializer = ll.Constant(found.value_type, list(table.values))
    index = _expr(e, expr.index)
    place = e.builder.gep(found, [index], inbounds=True, source_etype=kind)
    return scalars.load(e.builder, _opaque(place, _GLOBAL), table.dtype)
