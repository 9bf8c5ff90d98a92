"""Products of floats, and of bfloat16 in pairs, with sums of floats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.bfloat import from_bf16, widened
from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import BF16, F32, I16, declared, loaded, moved, splat, vector
from tilewright.compiler.tir.llvm_scalars import I32, Value


def _emit_fma_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    kind = vector(F32, level.lanes)
    weights = [loaded(builder, pointers["w"], kind, wide * c) for c in range(columns)]
    for row in range(rows):
        element = builder.load(moved(builder, pointers["x"], 4 * row * numbers["step"]), typ=F32, align=4)
        x = splat(builder, element, level.lanes)
        for column in range(columns):
            _add_product(builder, moved(builder, pointers["acc"], (row * columns + column) * wide), x, weights[column])


def _add_product(builder: ll.IRBuilder, place: Value, x: Value, w: Value) -> None:
    """Emit `acc += x * w`, rounded once where the processor can."""
    product = builder.fmul(x, w, flags=("contract",))
    total = builder.load(place, typ=x.type, align=4)
    builder.store(builder.fadd(product, total, flags=("contract",)), place, align=4)


def _execute_fma_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.array([arrays["x"][row * numbers["step"]] for row in range(rows)], np.float32)
    arrays["acc"][: rows * columns * lanes] += np.outer(x, arrays["w"][: columns * lanes]).reshape(-1)


def _emit_pair_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit sums of products of bfloat16, two to an element."""
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    sums, pairs = vector(F32, level.lanes), vector(BF16, 2 * level.lanes)
    dot = declared(builder, f"llvm.x86.avx512bf16.dpbf16ps.{32 * level.lanes}", sums, [sums, pairs, pairs])
    weights = [loaded(builder, pointers["w"], pairs, wide * c) for c in range(columns)]
    for row in range(rows):
        word = builder.load(moved(builder, pointers["x"], 2 * row * numbers["step"]), typ=I32, align=1)
        x = builder.bitcast(splat(builder, word, level.lanes), pairs)
        for column in range(columns):
            place = moved(builder, pointers["acc"], (row * columns + column) * wide)
            total = builder.call(dot, [builder.load(place, typ=sums, align=4), x, weights[column]])
            builder.store(total, place, align=4)


def _execute_pair_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.stack([from_bf16(arrays["x"][row * numbers["step"] :][:2]) for row in range(rows)])
    w = from_bf16(arrays["w"][: columns * lanes * 2]).reshape(columns * lanes, 2)
    arrays["acc"][: rows * columns * lanes] += (x @ w.T).reshape(-1)


def _emit_fma_lanes(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    kind = vector(F32, level.lanes)
    w = loaded(builder, operands.pointers["w"], kind)
    if operands.numbers["is_bf16"]:
        x = widened(builder, loaded(builder, operands.pointers["x"], vector(I16, level.lanes)))
    else:
        x = loaded(builder, operands.pointers["x"], kind)
    _add_product(builder, operands.pointers["acc"], x, w)


def _execute_fma_lanes(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    x = arrays["x"][:count]
    arrays["acc"][:count] += (from_bf16(x) if numbers["is_bf16"] else x) * arrays["w"][:count]


FLOAT_PRODUCTS = (
    Instruction("fma_tile", _emit_fma_tile, _execute_fma_tile),
    Instruction("pair_tile", _emit_pair_tile, _execute_pair_tile),
    Instruction("fma_lanes", _emit_fma_lanes, _execute_fma_lanes),
)
