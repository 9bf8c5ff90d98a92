"""Indices and values of the tensor IR as LLVM IR; indices are of 32 bits, or known when a kernel is compiled."""

from __future__ import annotations

from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.dialects import GLOBAL
from tilewright.compiler.targets.gpu.emit_state import Emitter, Place, opaque
from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.arithmetic import binary
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value
from tilewright.compiler.tir.simplify import is_natural
from tilewright.compiler.tir.visit import walk_expressions
from tilewright.isa.ir import Binary, BinaryOp, Buffer, Cast, Const, DType, Expr, Load, Lookup, Select, Var


def as_value(index: Value | int) -> Value:
    """Give an index as a value."""
    return I32(index) if isinstance(index, int) else index


def pointer_to(e: Emitter, buffer: Buffer, indices: tuple[Expr, ...]) -> Value:
    """Compute where an element lies."""
    place = e.places[buffer.name]
    if place.is_register:
        position = index_of(e, indices[1])
        if not isinstance(position, int):
            raise CodegenError(f"`{e.kernel.name}`: a place in the registers `{buffer.name}` is not constant")
        return moved(e, place, position)
    flat: Value | int = 0
    for index, extent in zip(indices, buffer.shape, strict=True):
        value = index_of(e, index)
        flat = _combined(e, BinaryOp.ADD, _combined(e, BinaryOp.MUL, flat, extent), value) if flat != 0 else value
    return moved(e, place, _swizzled(e, flat, buffer.dtype) if buffer.space == "swizzled" else flat)


def _swizzled(e: Emitter, position: Value | int, kind: DType) -> Value:
    """Exchange pieces of 16 bytes in a row of 128 by the row's number; positions count elements."""
    value = as_value(position)
    turn = e.builder.and_(e.builder.lshr(value, I32(3)), I32(0x70 * 8 // kind.bits))
    return e.builder.xor(value, turn)


def moved(e: Emitter, place: Place, position: Value | int) -> Value:
    """Compute the address of an element of a place."""
    if isinstance(position, int) and position == 0:
        return place.pointer
    kind = scalars.memory_type(place.buffer.dtype)
    moved = e.builder.gep(place.pointer, [as_value(position)], inbounds=True, source_etype=kind)
    return opaque(moved, place.pointer.type.addrspace)


def index_of(e: Emitter, expr: Expr) -> Value | int:
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
            result = _combined(e, op, index_of(e, left), index_of(e, right), is_natural(left))
        case Select(condition, if_true, if_false):
            yes, no = as_value(index_of(e, if_true)), as_value(index_of(e, if_false))
            result = e.builder.select(value_of(e, condition), yes, no)
        case Lookup():
            result = scalars.cast(e.builder, _looked_up(e, expr), expr.dtype, DType.I32)
        case Cast(_, inner):
            result = scalars.cast(e.builder, value_of(e, inner), inner.dtype, DType.I32)
        case _:
            raise CodegenError(f"`{e.kernel.name}`: `{expr!r}` is no index")
    if not isinstance(result, int):
        e.known[id(expr)] = result
    return result


def _combined(e: Emitter, op: BinaryOp, left: Value | int, right: Value | int, is_natural: bool = False) -> Value | int:
    if isinstance(left, int) and isinstance(right, int):
        return int(binary(op, DType.I64)(left, right))
    if (op == BinaryOp.MUL and 0 in (left, right)) or (op == BinaryOp.MOD and right == 1):
        return 0
    if right == (1 if op in (BinaryOp.MUL, BinaryOp.DIV) else 0) and op in _WITH_NEUTRAL:
        return left
    if left == (1 if op == BinaryOp.MUL else 0) and op in (BinaryOp.MUL, BinaryOp.ADD):
        return right
    a, b = as_value(left), as_value(right)
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


def value_of(e: Emitter, expr: Expr) -> Value:
    """Compute a value; one that occurs twice in a statement as the same object is computed once."""
    value = e.known.get(-id(expr))
    if value is None:
        value = e.known[-id(expr)] = _new(e, expr)
    return value


def _new(e: Emitter, expr: Expr) -> Value:
    match expr:
        case Const(value, dtype):
            return scalars.constant(value, dtype)
        case Binary(op, left, right) if op.is_comparison and _is_index(left) and _is_index(right):
            a, b = index_of(e, left), index_of(e, right)
            if isinstance(a, int) and isinstance(b, int):
                return ll.Constant(ll.IntType(1), int(binary(op, DType.I64)(a, b)))
            return scalars.binary(e.builder, op, as_value(a), as_value(b), DType.I32)
        case _ if _is_index(expr):
            index = index_of(e, expr)
            return I64(index) if isinstance(index, int) else e.builder.sext(index, I64)
        case Binary(BinaryOp.ADD | BinaryOp.SUB | BinaryOp.MUL, left, right) if left.dtype == DType.F32:
            return _contracted(e, expr.op, value_of(e, left), value_of(e, right))
        case Binary(op, left, right):
            return scalars.binary(e.builder, op, value_of(e, left), value_of(e, right), left.dtype)
        case Select(condition, if_true, if_false):
            return e.builder.select(*(value_of(e, part) for part in (condition, if_true, if_false)))
        case Cast(dtype, inner):
            return scalars.cast(e.builder, value_of(e, inner), inner.dtype, dtype)
        case Load(buffer, indices):
            return scalars.load(e.builder, pointer_to(e, buffer, indices), buffer.dtype)
        case Lookup():
            return _looked_up(e, expr)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _contracted(e: Emitter, op: BinaryOp, left: Value, right: Value) -> Value:
    """Emit an operator on fp32 that may be joined with another to one instruction, and be rounded once."""
    emit = {BinaryOp.ADD: e.builder.fadd, BinaryOp.SUB: e.builder.fsub, BinaryOp.MUL: e.builder.fmul}[op]
    return emit(left, right, flags=("contract",))


def _looked_up(e: Emitter, expr: Lookup) -> Value:
    """Read an entry of a constant table, which stands in the module once."""
    module, table = e.builder.module, expr.table
    kind = scalars.memory_type(table.dtype)
    found = module.globals.get(table.name)
    if found is None:
        found = ll.GlobalVariable(module, ll.ArrayType(kind, len(table.values)), table.name, addrspace=GLOBAL)
        found.global_constant, found.linkage = True, "internal"
        found.initializer = ll.Constant(found.value_type, list(table.values))
    index = value_of(e, expr.index)
    place = e.builder.gep(found, [index], inbounds=True, source_etype=kind)
    return scalars.load(e.builder, opaque(place, GLOBAL), table.dtype)
