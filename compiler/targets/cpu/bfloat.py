"""bfloat16: the upper half of a float. In memory it is 16 bits, in registers a float that holds its value."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.tir.llvm_scalars import I32, Value

_I16, _F32 = ll.IntType(16), ll.FloatType()


class BFloatType(ll.Type):  # type: ignore[misc]
    """LLVM's type, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloatType)

    def __hash__(self) -> int:
        return hash(BFloatType)


def to_bf16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """Round finite floats to the nearest, ties to even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(array: NDArray[Any]) -> NDArray[np.float32]:
    """Give the values."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def rounded(builder: ll.IRBuilder, value: Value) -> Value:
    """Round a vector of floats."""
    narrow = builder.fptrunc(value, ll.VectorType(BFloatType(), value.type.count))
    return widened(builder, builder.bitcast(narrow, ll.VectorType(_I16, value.type.count)))


def widened(builder: ll.IRBuilder, value: Value) -> Value:
    """Give the floats that a vector of 16 bits is."""
    count = value.type.count
    wide = builder.zext(value, ll.VectorType(I32, count))
    return builder.bitcast(builder.shl(wide, ll.Constant(wide.type, [16] * count)), ll.VectorType(_F32, count))


def narrowed(builder: ll.IRBuilder, value: Value) -> Value:
    """Give the 16 bits of floats that hold bfloat16."""
    count = value.type.count
    bits = builder.bitcast(value, ll.VectorType(I32, count))
    return builder.trunc(builder.lshr(bits, ll.Constant(bits.type, [16] * count)), ll.VectorType(_I16, count))
