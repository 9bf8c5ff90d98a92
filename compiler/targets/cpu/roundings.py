"""Integers of floats and of sums, rounded as the graph says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import F32, declared, loaded, vector
from tilewright.compiler.tir.llvm_scalars import I32, Value

_ROUND_EVEN = 8  # to the nearest, no exceptions
_ROUND_DOWN = 9  # towards minus infinity, no exceptions


def _emit_requantize(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `floor(sum * scale + zero + 1 / 2)`: rounded down from the exact value, first to a float, then to ones."""
    numbers, pointers, lanes = operands.numbers, operands.pointers, level.lanes
    ints, floats = vector(I32, lanes), vector(F32, lanes)
    total = builder.sitofp(builder.load(pointers["acc"], typ=ints, align=4), floats)
    scale = loaded(builder, pointers["scale"], floats)
    half = ll.Constant(floats, [numbers["zero"] + 0.5] * lanes)
    fma = declared(builder, "llvm.x86.avx512.vfmadd.ps.512", floats, [floats, floats, floats, I32])
    sums = builder.call(fma, [total, scale, half, I32(_ROUND_DOWN)])
    found = _converted(builder, sums, _ROUND_DOWN)
    for op, bound in (("smax", numbers["low"]), ("smin", numbers["high"])):
        limit = declared(builder, f"llvm.{op}.v{lanes}i32", ints, [ints, ints])
        found = builder.call(limit, [found, ll.Constant(ints, [bound] * lanes)])
    builder.store(found, pointers["y"], align=4)


def _execute_requantize(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    lanes = numbers["lanes"]
    exact = arrays["acc"][:lanes].astype(np.float64) * arrays["scale"][:lanes].astype(np.float64)
    found = np.floor(exact + 0.5) + numbers["zero"]
    arrays["y"][:lanes] = np.clip(found, numbers["low"], numbers["high"]).astype(np.int32)


def _emit_round(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit floats as integers, rounded to even; they must fit."""
    count = operands.numbers["lanes"]
    ints, floats = vector(I32, count), vector(F32, count)
    value = builder.load(operands.pointers["x"], typ=floats, align=4)
    if level.lanes == count == 16:
        found = _converted(builder, value, _ROUND_EVEN)
    else:
        rint = declared(builder, f"llvm.rint.v{count}f32", floats, [floats])
        found = builder.fptosi(builder.call(rint, [value]), ints)
    builder.store(found, operands.pointers["y"], align=4)


def _execute_round(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    arrays["y"][:count] = np.rint(arrays["x"][:count]).astype(np.int32)


def _converted(builder: ll.IRBuilder, values: Value, rounding: int) -> Value:
    """Give integers of 16 floats."""
    ints, mask = vector(I32, 16), ll.IntType(16)
    convert = declared(builder, "llvm.x86.avx512.mask.cvtps2dq.512", ints, [values.type, ints, mask, I32])
    return builder.call(convert, [values, ll.Constant(ints, [0] * 16), mask(-1), I32(rounding)])


ROUNDINGS = (
    Instruction("requantize", _emit_requantize, _execute_requantize),
    Instruction("round_even", _emit_round, _execute_round),
)
