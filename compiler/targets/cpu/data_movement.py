"""Bytes and words by table, in another order, or ahead of their use."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.instruction import Array, Instruction, Operands, nothing
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vectors import I8, declared, loaded, moved, vector
from tilewright.compiler.tir.llvm_scalars import I32


def _emit_table(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit a lookup of 64 bytes in a table of 256: two permutations of half of it, chosen by the highest bit."""
    kind = vector(I8, 64)
    permute = declared(builder, "llvm.x86.avx512.vpermi2var.qi.512", kind, [kind, kind, kind])
    quarters = [loaded(builder, operands.pointers["table"], kind, 64 * i) for i in range(4)]
    index = loaded(builder, operands.pointers["y"], kind)
    low, high = (builder.call(permute, [quarters[i], index, quarters[i + 1]]) for i in (0, 2))
    is_high = builder.icmp_signed("<", index, ll.Constant(kind, [0] * 64))
    builder.store(builder.select(is_high, high, low), operands.pointers["y"], align=1)


def _execute_table(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    arrays["y"][:64] = arrays["table"][arrays["y"][:64]]


def _emit_pack(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit words of some rows side by side, their bytes signed."""
    kind = vector(I32, level.lanes)
    words = ll.Constant(kind, ll.Undefined)
    for row in range(level.lanes):
        word = loaded(builder, operands.pointers["x"], I32, row * operands.numbers["step"])
        words = builder.insert_element(words, word, I32(row))
    flipped = builder.xor(words, ll.Constant(kind, [-0x7F7F7F80] * level.lanes))
    builder.store(flipped, operands.pointers["w"], align=1)


def _execute_pack(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows = [arrays["x"][row * numbers["step"] :][:4] for row in range(numbers["lanes"])]
    arrays["w"][: 4 * numbers["lanes"]] = (np.concatenate(rows) ^ np.uint8(128)).view(np.int8)


def _emit_zip(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit 16 pixels of a few planes with their channels side by side."""
    count, kind = operands.numbers["planes"], vector(I8, 16)
    planes = [loaded(builder, operands.pointers["x"], kind, c * operands.numbers["step"]) for c in range(count)]
    planes += [ll.Constant(kind, ll.Undefined)] * (4 - count)
    if operands.numbers["flip"]:
        planes[:count] = [builder.xor(plane, ll.Constant(kind, [-128] * 16)) for plane in planes[:count]]
    mask = ll.Constant(vector(I32, 32), list(range(32)))
    low, high = (builder.shuffle_vector(planes[i], planes[i + 1], mask) for i in (0, 2))
    order = ll.Constant(vector(I32, 16 * count), [i % count * 16 + i // count for i in range(16 * count)])
    builder.store(builder.shuffle_vector(low, high, order), operands.pointers["y"], align=1)


def _execute_zip(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    planes = [arrays["x"][c * numbers["step"] :][:16] for c in range(numbers["planes"])]
    found = np.stack(planes, axis=1).reshape(-1)
    arrays["y"][: found.size] = found ^ np.uint8(128) if numbers["flip"] else found


def _emit_prefetch(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    pointer = ll.PointerType()
    prefetch = declared(builder, "llvm.prefetch.p0", ll.VoidType(), [pointer, I32, I32, I32])
    for line in range(operands.numbers["lines"]):
        place = moved(builder, operands.pointers["w"], 64 * line)
        place.type = pointer
        builder.call(prefetch, [place, I32(0), I32(2), I32(1)])


DATA_MOVEMENT = (
    Instruction("look_up", _emit_table, _execute_table),
    Instruction("pack_words", _emit_pack, _execute_pack),
    Instruction("zip_planes", _emit_zip, _execute_zip),
    Instruction("prefetch", _emit_prefetch, nothing),
)
