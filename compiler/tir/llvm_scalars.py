"""Scalar operators of the tensor IR as LLVM instructions.

bfloat16 is 16 bits in memory and a `float` that holds a bfloat16 value in registers; bool is a byte in memory and a
bit in registers. Shift amounts count modulo the width, as in `arithmetic`; a division by zero gives any value but does
not trap.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir as ll

from tilewright.isa.ir import BinaryOp, DType

Value = Any  # llvmlite's values carry no static types

_REGISTER = {
    DType.BOOL: ll.IntType(1), DType.I8: ll.IntType(8), DType.U8: ll.IntType(8), DType.I16: ll.IntType(16),
    DType.I32: ll.IntType(32), DType.I64: ll.IntType(64), DType.F16: ll.HalfType(), DType.BF16: ll.FloatType(),
    DType.F32: ll.FloatType(),
}  # fmt: skip
_MEMORY = {**_REGISTER, DType.BOOL: ll.IntType(8), DType.BF16: ll.IntType(16)}

_COMPARISONS = {
    BinaryOp.LT: "<", BinaryOp.LE: "<=", BinaryOp.EQ: "==", BinaryOp.NE: "!=", BinaryOp.MIN: "<", BinaryOp.MAX: ">",
}  # fmt: skip
_UNSIGNED = (DType.U8, DType.BOOL)
I32, I64 = ll.IntType(32), ll.IntType(64)


def register_type(dtype: DType) -> Any:
    """Return the LLVM type of a scalar in a register."""
    return _REGISTER[dtype]


def memory_type(dtype: DType) -> Any:
    """Return the LLVM type of an element in memory."""
    return _MEMORY[dtype]


def constant(value: int | float, dtype: DType) -> Value:
    """Return a literal."""
    return ll.Constant(_REGISTER[dtype], float(value) if dtype.is_float else int(value))


def load(builder: ll.IRBuilder, pointer: Value, dtype: DType) -> Value:
    """Read an element from memory into a register."""
    value = builder.load(pointer, typ=_MEMORY[dtype])
    if dtype == DType.BOOL:
        return builder.trunc(value, ll.IntType(1))
    if dtype == DType.BF16:
        return builder.bitcast(builder.shl(builder.zext(value, I32), I32(16)), ll.FloatType())
    return value


def store(builder: ll.IRBuilder, pointer: Value, value: Value, dtype: DType) -> None:
    """Write a register to memory."""
    if dtype == DType.BOOL:
        value = builder.zext(value, ll.IntType(8))
    elif dtype == DType.BF16:
        value = builder.trunc(builder.lshr(builder.bitcast(value, I32), I32(16)), ll.IntType(16))
    builder.store(value, pointer)


def _rounded_bfloat(builder: ll.IRBuilder, value: Value) -> Value:
    """Round a float to the nearest bfloat16, ties to even."""
    bits = builder.bitcast(value, I32)
    odd = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    rounded = builder.add(bits, builder.add(odd, I32(0x7FFF)))
    quiet = builder.or_(bits, I32(0x400000))
    is_nan = builder.fcmp_unordered("uno", value, value)
    chosen = builder.select(is_nan, quiet, rounded)
    return builder.bitcast(builder.and_(chosen, I32(-0x10000)), ll.FloatType())


def cast(builder: ll.IRBuilder, value: Value, source: DType, target: DType) -> Value:
    """Convert between scalar types."""
    if source == target:
        return value
    if target.is_float:
        return _to_float(builder, value, source, target)
    if source.is_float:
        return _float_to_integer(builder, value, source, target)
    if target == DType.BOOL:
        return builder.icmp_signed("!=", value, constant(0, source))
    if target.bits <= source.bits:
        return value if target.bits == source.bits else builder.trunc(value, _REGISTER[target])
    extend = builder.zext if source in _UNSIGNED else builder.sext
    return extend(value, _REGISTER[target])


def _to_float(builder: ll.IRBuilder, value: Value, source: DType, target: DType) -> Value:
    """Convert to `float` first, then to the narrower types."""
    if source == DType.F16:
        value = builder.fpext(value, ll.FloatType())
    elif not source.is_float:
        convert = builder.uitofp if source in _UNSIGNED else builder.sitofp
        value = convert(value, ll.FloatType())
    if target == DType.F16:
        return builder.fptrunc(value, ll.HalfType())
    return _rounded_bfloat(builder, value) if target == DType.BF16 else value


def _float_to_integer(builder: ll.IRBuilder, value: Value, source: DType, target: DType) -> Value:
    if source == DType.F16:
        value = builder.fpext(value, ll.FloatType())
    if target == DType.BOOL:
        return builder.fcmp_unordered("!=", value, ll.Constant(ll.FloatType(), 0.0))
    kind = "fptoui" if target in _UNSIGNED else "fptosi"
    to = _REGISTER[target]
    name = f"llvm.{kind}.sat.i{target.bits}.f32"
    convert = builder.module.globals.get(name)
    if convert is None:
        convert = ll.Function(builder.module, ll.FunctionType(to, [ll.FloatType()]), name)
    return builder.call(convert, [value])


def binary(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    """Emit an operator on two operands of type `dtype`."""
    if op in _COMPARISONS:
        return _comparison(builder, op, left, right, dtype)
    return _float(builder, op, left, right, dtype) if dtype.is_float else _integer(builder, op, left, right, dtype)


def _comparison(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    symbol = _COMPARISONS[op]
    if dtype.is_float:
        compare = builder.fcmp_unordered if op == BinaryOp.NE else builder.fcmp_ordered
    else:
        compare = builder.icmp_unsigned if dtype in _UNSIGNED else builder.icmp_signed
    holds = compare(symbol, left, right)
    return builder.select(holds, left, right) if op in (BinaryOp.MIN, BinaryOp.MAX) else holds


def _float(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    emit = {
        BinaryOp.ADD: builder.fadd,
        BinaryOp.SUB: builder.fsub,
        BinaryOp.MUL: builder.fmul,
        BinaryOp.DIV: builder.fdiv,
    }[op]
    value = emit(left, right)
    return _rounded_bfloat(builder, value) if dtype == DType.BF16 else value


def _integer(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    match op:
        case BinaryOp.DIV | BinaryOp.MOD:
            return _division(builder, op, left, right, dtype)
        case BinaryOp.SHL:
            return builder.shl(left, _shift_amount(builder, right, dtype))
        case BinaryOp.SHR:
            shift = builder.lshr if dtype in _UNSIGNED else builder.ashr
            return shift(left, _shift_amount(builder, right, dtype))
        case _:
            emit = {
                BinaryOp.ADD: builder.add,
                BinaryOp.SUB: builder.sub,
                BinaryOp.MUL: builder.mul,
                BinaryOp.AND: builder.and_,
                BinaryOp.OR: builder.or_,
                BinaryOp.XOR: builder.xor,
            }[op]
            return emit(left, right)


def _shift_amount(builder: ll.IRBuilder, amount: Value, dtype: DType) -> Value:
    if isinstance(amount, ll.Constant):
        return ll.Constant(amount.type, amount.constant % dtype.bits)
    return builder.and_(amount, ll.Constant(amount.type, dtype.bits - 1))


def _division(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    """Quotient or remainder, rounded towards minus infinity."""
    is_quotient = op == BinaryOp.DIV
    divisor = right.constant if isinstance(right, ll.Constant) else None
    if divisor is not None and divisor > 0 and not divisor & (divisor - 1):
        shift = builder.lshr if dtype in _UNSIGNED else builder.ashr
        bits = divisor.bit_length() - 1
        return shift(left, right.type(bits)) if is_quotient else builder.and_(left, right.type(divisor - 1))
    zero, one = right.type(0), right.type(1)
    if dtype in _UNSIGNED:
        safe = builder.select(builder.icmp_unsigned("==", right, zero), one, right)
        return builder.udiv(left, safe) if is_quotient else builder.urem(left, safe)
    minus_one = right.type(-1)
    traps = builder.or_(builder.icmp_signed("==", right, zero), builder.icmp_signed("==", right, minus_one))
    safe = builder.select(traps, one, right)
    quotient, rest = builder.sdiv(left, safe), builder.srem(left, safe)
    is_negative = builder.icmp_signed("<", builder.xor(rest, safe), zero)
    adjust = builder.and_(builder.icmp_signed("!=", rest, zero), is_negative)
    if not is_quotient:
        return builder.add(rest, builder.select(adjust, safe, zero))
    floored = builder.sub(quotient, builder.zext(adjust, right.type))
    return builder.select(builder.icmp_signed("==", right, minus_one), builder.neg(left), floored)


def load_extended(builder: ll.IRBuilder, pointer: Value, lanes: int) -> Value:
    """Read signed bytes that lie behind each other, as a vector of `i32`."""
    return builder.sext(
        builder.load(pointer, typ=ll.VectorType(ll.IntType(8), lanes), align=1), ll.VectorType(I32, lanes)
    )


def every_other(builder: ll.IRBuilder, vector: Value, first: int) -> Value:
    """Return the elements of a vector with even (`first` 0) or odd numbers (1)."""
    lanes = range(first, vector.type.count, 2)
    places = ll.Constant(ll.VectorType(I32, len(lanes)), [I32(lane) for lane in lanes])
    return builder.shuffle_vector(vector, ll.Constant(vector.type, ll.Undefined), places)
