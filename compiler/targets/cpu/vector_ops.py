"""Operators of the tensor IR on vectors, and on scalars as `tir.llvm_scalars` emits them."""

from __future__ import annotations

from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.bfloat import rounded
from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import Value
from tilewright.isa.ir import BinaryOp, DType

_SYMBOLS = {
    BinaryOp.LT: "<", BinaryOp.LE: "<=", BinaryOp.EQ: "==", BinaryOp.NE: "!=", BinaryOp.MIN: "<", BinaryOp.MAX: ">",
}  # fmt: skip
_UNSIGNED = (DType.U8, DType.BOOL)


def binary(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    """Emit an operator on operands of type `dtype`, both scalars or both vectors.

    Raises
    ------
    CodegenError
        For vectors of a type, or a division, that no kernel needs.
    """
    if not isinstance(left.type, ll.VectorType):
        return scalars.binary(builder, op, left, right, dtype)
    if dtype in (DType.BF16, DType.F16):
        raise CodegenError(f"vectors of {dtype} have no operators here")
    if op in _SYMBOLS:
        return _comparison(builder, op, left, right, dtype)
    if dtype.is_float:
        names = {BinaryOp.ADD: "fadd", BinaryOp.SUB: "fsub", BinaryOp.MUL: "fmul", BinaryOp.DIV: "fdiv"}
        return getattr(builder, names[op])(left, right)
    if op in (BinaryOp.SHL, BinaryOp.SHR):
        amount = builder.and_(right, ll.Constant(right.type, [dtype.bits - 1] * right.type.count))
        shift = builder.shl if op == BinaryOp.SHL else builder.lshr if dtype in _UNSIGNED else builder.ashr
        return shift(left, amount)
    plain = {
        BinaryOp.ADD: builder.add, BinaryOp.SUB: builder.sub, BinaryOp.MUL: builder.mul, BinaryOp.AND: builder.and_,
        BinaryOp.OR: builder.or_, BinaryOp.XOR: builder.xor,
    }  # fmt: skip
    if op not in plain:
        raise CodegenError(f"vectors have no operator `{op}` here")
    return plain[op](left, right)


def _comparison(builder: ll.IRBuilder, op: BinaryOp, left: Value, right: Value, dtype: DType) -> Value:
    if dtype.is_float:
        compare = builder.fcmp_unordered if op == BinaryOp.NE else builder.fcmp_ordered
    else:
        compare = builder.icmp_unsigned if dtype in _UNSIGNED else builder.icmp_signed
    holds = compare(_SYMBOLS[op], left, right)
    return builder.select(holds, left, right) if op in (BinaryOp.MIN, BinaryOp.MAX) else holds


def cast(builder: ll.IRBuilder, value: Value, source: DType, target: DType) -> Value:
    """Emit a conversion of a scalar or a vector.

    Raises
    ------
    CodegenError
        For vectors of narrow floats.
    """
    if source == target:
        return value
    if not isinstance(value.type, ll.VectorType):
        return scalars.cast(builder, value, source, target)
    if (source, target) == (DType.F32, DType.BF16):
        return rounded(builder, value)
    if (source, target) == (DType.BF16, DType.F32):
        return value
    if DType.BF16 in (source, target) or DType.F16 in (source, target):
        raise CodegenError(f"vectors are not converted from {source} to {target} here")
    count = value.type.count
    kind = ll.VectorType(scalars.register_type(target), count)
    if target.is_float:
        return (builder.uitofp if source in _UNSIGNED else builder.sitofp)(value, kind)
    if source.is_float:
        return _float_to_integer(builder, value, target, kind)
    if target == DType.BOOL:
        return builder.icmp_signed("!=", value, ll.Constant(value.type, [0] * count))
    if target.bits <= source.bits:
        return value if target.bits == source.bits else builder.trunc(value, kind)
    return (builder.zext if source in _UNSIGNED else builder.sext)(value, kind)


def _float_to_integer(builder: ll.IRBuilder, value: Value, target: DType, kind: Value) -> Value:
    sign = "fptoui" if target in _UNSIGNED else "fptosi"
    name = f"llvm.{sign}.sat.v{kind.count}i{target.bits}.v{kind.count}f32"
    convert = builder.module.globals.get(name)
    convert = convert or ll.Function(builder.module, ll.FunctionType(kind, [value.type]), name)
    return builder.call(convert, [value])
