"""Amaranth layouts of instruction words, derived from the instruction table."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Const, Shape, Value, signed, unsigned
from amaranth.lib import data

from tilewright.isa.fields import Field
from tilewright.isa.instructions import Engine, Instruction, InstructionSet


def field_shape(field: Field) -> Shape:
    """Return the Amaranth shape of an ISA field."""
    return signed(field.bits) if field.signed else unsigned(field.bits)


def instruction_layout(instruction: Instruction) -> data.StructLayout:
    """Return the layout of an instruction word, opcode lowest; fields of no width are left out."""
    return data.StructLayout({f.name: field_shape(f) for f in instruction.fields if f.bits})


def field_offset(instruction: Instruction, name: str) -> int:
    """Return the lowest bit of a field in the instruction word."""
    offset = 0
    for field in instruction.fields:
        if field.name == name:
            return offset
        offset += field.bits
    raise KeyError(name)


def engine_word_bits(isa: InstructionSet, engine: Engine) -> int:
    """Return the width of the raw words that an engine takes: its widest instruction."""
    return max(i.bits for i in isa.of_engine(engine))


def extract_field(word: Value, instruction: Instruction, name: str) -> Value:
    """Return a field of a raw word; a field that this configuration or instruction lacks reads as 0."""
    fields = {f.name: f for f in instruction.fields}
    if name not in fields or not fields[name].bits:
        return Const(0, 1)
    offset, field = field_offset(instruction, name), fields[name]
    bits = word[offset : offset + field.bits]
    return bits.as_signed() if field.signed else bits


def merged_field_shape(instructions: Sequence[Instruction], name: str) -> Shape:
    """Return the shape that holds a field of any of the instructions; width 0 when none has it."""
    found = [f for i in instructions for f in i.fields if f.name == name]
    if not found:
        return unsigned(0)
    bits = max(f.bits for f in found)
    return signed(bits) if any(f.signed for f in found) else unsigned(bits)
