"""AMX: products of tiles, 16 rows of 64 bytes, which the processor keeps in eight registers of their own.

Sums of up to four tiles stay in registers 0 to 3 while a step takes rows of pixels from where they lie, with whatever
is between them, to registers 4 and 5, and words of weights to 6 and 7. Rows of `acc` are whole vectors of channels,
those of a pixel side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.bfloat import from_bf16
from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands, nothing
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import I8, declared, moved
from tilewright.compiler.tir.llvm_scalars import I64, Value

#: Rows of a tile, and words of four bytes of a row.
ROWS = WORDS = 16

#: Tiles of sums.
MOST_TILES = 4

_BYTES = 4 * WORDS
_X, _W = 4, 6  # first registers
_POINTER = ll.PointerType()


def parts(rows: int) -> int:
    """Return how many tiles so many pixels take, each of as many."""
    return -(-rows // ROWS)


def configuration(rows: int, words: int) -> bytes:
    """Return what `ldtilecfg` loads: pixels a tile, and words of a step."""
    found = bytearray(64)
    found[0] = 1
    extents = [(rows, _BYTES)] * MOST_TILES + [(rows, 4 * words)] * 2 + [(words, _BYTES)] * 2
    for number, (high, wide) in enumerate(extents):
        found[16 + 2 * number] = wide
        found[48 + number] = high
    return bytes(found)


def _emit_configure(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Say how large tiles are, for all that follows."""
    kind = ll.VectorType(I8, 64)
    rows, words = operands.numbers["rows"], operands.numbers["words"]
    place = builder.alloca(kind)
    place.align, place.type = 64, _POINTER
    builder.store(ll.Constant(kind, list(configuration(rows, words))), place, align=64)
    builder.call(_intrinsic(builder, "ldtilecfg", [_POINTER]), [place])


def _emit_release(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Give the registers back, so that nobody need save them."""
    builder.call(_intrinsic(builder, "tilerelease", []), [])


def _emit_load(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Load tiles of sums."""
    _move(builder, "tileloadd64", operands)


def _emit_store(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Store tiles of sums."""
    _move(builder, "tilestored64", operands)


def _move(builder: ll.IRBuilder, name: str, operands: Operands) -> None:
    numbers, move = operands.numbers, _intrinsic(builder, name, [I8, _POINTER, I64])
    columns = numbers["columns"]
    for part in range(numbers["parts"]):
        for column in range(columns):
            place = moved(builder, operands.pointers["acc"], (part * numbers["rows"] * columns + column) * _BYTES)
            builder.call(move, [I8(part * columns + column), place, I64(columns * _BYTES)])


def _emit_step(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Add products of pixels with weights to all tiles of sums."""
    numbers, pointers = operands.numbers, operands.pointers
    load = _intrinsic(builder, "tileloadd64", [I8, _POINTER, I64])
    dot = _intrinsic(builder, "tdpbf16ps" if numbers["is_bf16"] else "tdpbusd", [I8] * 3)
    columns, step = numbers["columns"], numbers["step_bytes"]
    for part in range(numbers["parts"]):
        place = moved(builder, pointers["x"], part * numbers["rows"] * step)
        builder.call(load, [I8(_X + part), place, I64(step)])
    for column in range(columns):
        place = moved(builder, pointers["w"], column * _BYTES)
        builder.call(load, [I8(_W + column % 2), place, I64(columns * _BYTES)])
        for part in range(numbers["parts"]):
            builder.call(dot, [I8(part * columns + column), I8(_X + part), I8(_W + column % 2)])


def _execute_step(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    """Do what `_emit_step` says."""
    is_bf16, columns = numbers["is_bf16"], numbers["columns"]
    word, size = (2, 2) if is_bf16 else (4, 1)
    count, depth = numbers["parts"] * numbers["rows"], numbers["words"] * word
    apart = numbers["step_bytes"] // size
    x = np.stack([arrays["x"][row * apart :][:depth] for row in range(count)])
    w = arrays["w"][: numbers["words"] * columns * WORDS * word].reshape(numbers["words"], columns * WORDS, word)
    order = w.transpose(0, 2, 1).reshape(depth, columns * WORDS)
    products = from_bf16(x) @ from_bf16(order) if is_bf16 else x.astype(np.int32) @ order.astype(np.int32)
    arrays["acc"][: count * columns * WORDS] += products.reshape(-1)


def _intrinsic(builder: ll.IRBuilder, name: str, arguments: list[Any]) -> Value:
    return declared(builder, f"llvm.x86.{name}", ll.VoidType(), arguments)


MATRIX_TILES = (
    Instruction("tiles_configure", _emit_configure, nothing),
    Instruction("tiles_load", _emit_load, nothing),
    Instruction("tiles_step", _emit_step, _execute_step),
    Instruction("tiles_store", _emit_store, nothing),
    Instruction("tiles_release", _emit_release, nothing),
)
