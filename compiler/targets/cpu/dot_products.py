"""Products of unsigned and signed bytes, four of them to a sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import binding
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import I8, declared, loaded, moved, splat, vector
from tilewright.compiler.tir.llvm_scalars import I32, Value


def _dot(builder: ll.IRBuilder, level: Level, total: Value, x: Value, w: Value) -> Value:
    """Add products of unsigned and signed bytes, four to an element."""
    lanes = level.lanes
    kind = total.type
    if level.dot:
        is_bytes = binding.llvm_version_info[0] >= 22 or not level.dot.startswith("llvm.x86")
        takes = vector(I8, 4 * lanes) if is_bytes else kind
        dot = declared(builder, level.dot, kind, [kind, takes, takes])
        return builder.call(dot, [total, builder.bitcast(x, takes), builder.bitcast(w, takes)])
    wide = vector(ll.IntType(16 if "avx2" in level.needs else 32), 4 * lanes)
    a, b = builder.zext(x, wide), builder.sext(w, wide)
    if "avx2" not in level.needs:
        return _added_up(builder, total, builder.mul(a, b), 4)
    halves = [ll.Constant(vector(I32, 2 * lanes), list(range(s, s + 2 * lanes))) for s in (0, 2 * lanes)]
    short, pairs = vector(ll.IntType(16), 2 * lanes), vector(I32, lanes)
    multiply = declared(builder, "llvm.x86.avx2.pmadd.wd", pairs, [short, short])
    undefined = ll.Constant(wide, ll.Undefined)
    parts = [builder.call(multiply, [builder.shuffle_vector(v, undefined, half) for v in (a, b)]) for half in halves]
    mask = ll.Constant(vector(I32, 2 * lanes), list(range(2 * lanes)))
    return _added_up(builder, total, builder.shuffle_vector(*parts, mask), 2)


def _added_up(builder: ll.IRBuilder, total: Value, products: Value, step: int) -> Value:
    """Add groups of neighbouring elements."""
    undefined = ll.Constant(products.type, ll.Undefined)
    count = total.type.count
    for part in range(step):
        mask = ll.Constant(vector(I32, count), [step * lane + part for lane in range(count)])
        total = builder.add(total, builder.shuffle_vector(products, undefined, mask))
    return total


def _emit_dot_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    sums, words = vector(I32, level.lanes), vector(I8, wide)
    apart = numbers.get("w_step", wide)
    weights = [loaded(builder, pointers["w"], words, apart * c) for c in range(columns)]
    for row in range(rows):
        word = builder.load(moved(builder, pointers["x"], row * numbers["step"]), typ=I32, align=1)
        x = builder.bitcast(splat(builder, word, level.lanes), words)
        for column in range(columns):
            place = moved(builder, pointers["acc"], (row * columns + column) * wide)
            total = _dot(builder, level, builder.load(place, typ=sums, align=4), x, weights[column])
            builder.store(total, place, align=4)


def _execute_dot_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.stack([arrays["x"][row * numbers["step"] :][:4] for row in range(rows)]).astype(np.int32)
    apart = numbers.get("w_step", lanes * 4)
    parts = [arrays["w"][column * apart :][: lanes * 4] for column in range(columns)]
    w = np.concatenate(parts).reshape(columns * lanes, 4).astype(np.int32)
    arrays["acc"][: rows * columns * lanes] += (x @ w.T).reshape(-1)


def _emit_dot_lanes(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    pointers, words = operands.pointers, vector(I8, 4 * level.lanes)
    x, w = (loaded(builder, pointers[role], words) for role in ("x", "w"))
    total = builder.load(pointers["acc"], typ=vector(I32, level.lanes), align=4)
    builder.store(_dot(builder, level, total, x, w), pointers["acc"], align=4)


def _execute_dot_lanes(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    x, w = (arrays[role][: 4 * count].reshape(count, 4).astype(np.int32) for role in ("x", "w"))
    arrays["acc"][:count] += (x * w).sum(axis=1, dtype=np.int32)


def _emit_interleave(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    lanes, numbers = level.lanes, operands.numbers
    kind = vector(I8, lanes)
    parts = [loaded(builder, operands.pointers["x"], kind, j * numbers["step"]) for j in range(numbers["count"])]
    parts += [ll.Constant(kind, [0] * lanes)] * (4 - len(parts))
    mask = ll.Constant(vector(I32, 2 * lanes), list(range(2 * lanes)))
    low, high = (builder.shuffle_vector(parts[i], parts[i + 1], mask) for i in (0, 2))
    order = ll.Constant(vector(I32, 4 * lanes), [i % 4 * lanes + i // 4 for i in range(4 * lanes)])
    builder.store(builder.shuffle_vector(low, high, order), operands.pointers["q"], align=4)


def _execute_interleave(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    lanes = numbers["lanes"]
    found = np.zeros((lanes, 4), np.uint8)
    for j in range(numbers["count"]):
        found[:, j] = arrays["x"][j * numbers["step"] :][:lanes]
    arrays["q"][: 4 * lanes] = found.reshape(-1)


DOT_PRODUCTS = (
    Instruction("dot_tile", _emit_dot_tile, _execute_dot_tile),
    Instruction("dot_lanes", _emit_dot_lanes, _execute_dot_lanes),
    Instruction("interleave", _emit_interleave, _execute_interleave),
)
