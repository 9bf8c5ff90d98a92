"""What the scalar operators compute, in exact Python numbers; folding and interpretation use it.

Integers wrap in two's complement, quotients round towards minus infinity, shift amounts count modulo the width.
Floating-point results are rounded to their type after every operator; `//` on them is the IEEE quotient.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from tilewright.isa.ir import BinaryOp, DType

Number = int | float

_UNSIGNED = (DType.U8, DType.BOOL)

_INTEGER: dict[BinaryOp, Callable[[int, int], int]] = {
    BinaryOp.ADD: lambda a, b: a + b,
    BinaryOp.SUB: lambda a, b: a - b,
    BinaryOp.MUL: lambda a, b: a * b,
    BinaryOp.DIV: lambda a, b: a // b,
    BinaryOp.MOD: lambda a, b: a % b,
    BinaryOp.AND: lambda a, b: a & b,
    BinaryOp.OR: lambda a, b: a | b,
    BinaryOp.XOR: lambda a, b: a ^ b,
}
_FLOAT: dict[BinaryOp, Callable[[float, float], float]] = {
    BinaryOp.ADD: lambda a, b: a + b,
    BinaryOp.SUB: lambda a, b: a - b,
    BinaryOp.MUL: lambda a, b: a * b,
    BinaryOp.DIV: lambda a, b: float(np.float64(a) / np.float64(b)),
}
_ANY: dict[BinaryOp, Callable[[Number, Number], Number]] = {
    BinaryOp.MIN: lambda a, b: a if a < b else b,
    BinaryOp.MAX: lambda a, b: a if a > b else b,
    BinaryOp.LT: lambda a, b: int(a < b),
    BinaryOp.LE: lambda a, b: int(a <= b),
    BinaryOp.EQ: lambda a, b: int(a == b),
    BinaryOp.NE: lambda a, b: int(a != b),
}


def integer_range(dtype: DType) -> range:
    """Return every value of an integer type."""
    low = 0 if dtype in _UNSIGNED else -(1 << (dtype.bits - 1))
    return range(low, low + (1 << dtype.bits))


def wrapper(dtype: DType) -> Callable[[int], int]:
    """Return the function that keeps the low bits of an integer, read as `dtype`."""
    mask = (1 << dtype.bits) - 1
    if dtype in _UNSIGNED:
        return lambda value: value & mask
    half = 1 << (dtype.bits - 1)
    return lambda value: ((value + half) & mask) - half


def round_float(value: Number, dtype: DType) -> float:
    """Round to the nearest value of a floating-point type, ties to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == DType.F16:
            return float(np.float16(value))
        single = np.float32(value)
    if dtype == DType.F32 or not np.isfinite(single):
        return float(single)
    return bfloat16_value(bfloat16_bits(float(single)))


def bfloat16_bits(value: float) -> int:
    """Return the bits of the nearest bfloat16; `value` is exact in 32 bits."""
    with np.errstate(over="ignore"):
        bits: int = struct.unpack("<I", struct.pack("<f", np.float32(value)))[0]
    if math.isnan(value):
        return (bits >> 16) | 0x40
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) & 0xFFFF


def bfloat16_value(bits: int) -> float:
    """Return the value that the bits of a bfloat16 stand for."""
    value: float = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return value


def binary(op: BinaryOp, dtype: DType) -> Callable[..., Number]:
    """Return the function of two operands of type `dtype` that an operator computes.

    It raises `ZeroDivisionError` for an integer division by zero.
    """
    if op in _ANY:
        return _ANY[op]
    if dtype.is_float:
        return _rounded(_FLOAT[op], dtype)
    wrap, width = wrapper(dtype), dtype.bits
    if op == BinaryOp.SHL:
        return lambda a, b: wrap(a << b % width)
    if op == BinaryOp.SHR:
        return lambda a, b: a >> b % width
    compute = _INTEGER[op]
    return lambda a, b: wrap(compute(a, b))


def _rounded(compute: Callable[[float, float], float], dtype: DType) -> Callable[[float, float], float]:
    def rounded(a: float, b: float) -> float:
        with np.errstate(all="ignore"):
            return round_float(compute(a, b), dtype)

    return rounded


def conversion(source: DType, target: DType) -> Callable[[Number], Number]:
    """Return the function that a cast computes; floats become integers towards zero, saturated, NaN becomes 0."""
    if target.is_float:
        return lambda value: round_float(value, target)
    if target == DType.BOOL:
        return lambda value: int(value != 0)
    if not source.is_float:
        wrap = wrapper(target)
        return lambda value: wrap(int(value))
    values = integer_range(target)

    def saturate(value: Number) -> int:
        if math.isnan(value):
            return 0
        return int(min(max(value, values.start), values.stop - 1))

    return saturate
