"""Functions of floats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import F32, declared, vector
from tilewright.compiler.tir.llvm_scalars import I32, Value

_LEAST_POWER = -87.0  # of e that is no denormal float
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_EXPONENTIAL = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)  # of what is left, at most ln(2) / 2


def _emit_exponential(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `y = exp(y)` of a vector: a power of two times a polynomial; for what is at most 0, or little more."""
    count = operands.numbers["lanes"]
    floats, ints = vector(F32, count), vector(I32, count)

    def every(value: float) -> Value:
        return ll.Constant(floats, [float(np.float32(value))] * count)

    def product(a: Value, b: Value, c: Value) -> Value:
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    place = operands.pointers["y"]
    x = builder.load(place, typ=floats, align=4)
    x = builder.select(builder.fcmp_ordered("<", x, every(_LEAST_POWER)), every(_LEAST_POWER), x)
    rint = declared(builder, f"llvm.rint.v{count}f32", floats, [floats])
    power = builder.call(rint, [builder.fmul(x, every(_LOG2_E))])
    rest = product(power, every(-_LN_2_HIGH), x)
    rest = product(power, every(-_LN_2_LOW), rest)
    value = every(_EXPONENTIAL[-1])
    for coefficient in reversed(_EXPONENTIAL[:-1]):
        value = product(value, rest, every(coefficient))
    exponent = builder.add(builder.fptosi(power, ints), ll.Constant(ints, [127] * count))
    scale = builder.bitcast(builder.shl(exponent, ll.Constant(ints, [23] * count)), floats)
    builder.store(builder.fmul(value, scale), place, align=4)


def _execute_exponential(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    arrays["y"][:count] = np.exp(np.maximum(arrays["y"][:count], np.float32(_LEAST_POWER)))


def _emit_inverse_root(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `y = 1 / sqrt(y + epsilon)`."""
    place = operands.pointers["y"]
    epsilon = builder.bitcast(I32(operands.numbers["epsilon_bits"]), F32)
    root = declared(builder, "llvm.sqrt.f32", F32, [F32])
    total = builder.fadd(builder.load(place, typ=F32, align=4), epsilon)
    builder.store(builder.fdiv(ll.Constant(F32, 1.0), builder.call(root, [total])), place, align=4)


def _execute_inverse_root(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    epsilon = np.int32(numbers["epsilon_bits"]).view(np.float32)
    arrays["y"][0] = np.float32(1) / np.sqrt(arrays["y"][0] + epsilon)


FLOAT_FUNCTIONS = (
    Instruction("exponential", _emit_exponential, _execute_exponential),
    Instruction("inverse_root", _emit_inverse_root, _execute_inverse_root),
)
