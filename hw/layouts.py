"""Amaranth layouts of instruction words, derived from the instruction table."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Const, Shape, Value, signed, unsigned
from amaranth.lib import data

from tilewright.hw.signatures import address_bits
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine, Instruction, InstructionSet
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

#: The loops of a compute instruction, outermost first.
LOOPS = OUT_LOOPS + RED_LOOPS


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
    return signed(bits) if bits and any(f.signed for f in found) else unsigned(bits)


def command_layout(isa: InstructionSet) -> data.StructLayout:
    """Return what the compute decoder makes of a word: every operand of compute instructions, and facts about them.

    Besides the fields by name: `vector`, `depthwise` and `row` (where the configuration has them), `empty` (some extent
    is zero), `single` (a bit per loop, outermost lowest: its extent is one, or the instruction lacks the loop), `legal`
    (the operation exists and its operands go together, the depthwise kernel and row fit).
    """
    instructions = isa.of_engine(Engine.COMPUTE)
    names = list(dict.fromkeys(name for i in instructions for name in i.operands))
    shapes = {name: merged_field_shape(instructions, name) for name in names}
    members = {name: shape for name, shape in shapes.items() if shape.width}
    has = {"vector": True, "depthwise": isa.config.depthwise.enabled, "row": isa.config.vector.rows}
    kinds = {name: 1 for name, is_there in has.items() if is_there}
    return data.StructLayout({**members, **kinds, "empty": 1, "single": len(LOOPS), "legal": 1})


def step_layout(config: Config) -> data.StructLayout:
    """Return what the sequencer issues: the address of every operand, and where in the loops the step stands.

    `valid`: this is a step; `first`, `last`: of its reduction; `end`: the instruction issues nothing after this cycle
    (an empty instruction has one such cycle without a step).
    """
    act, acc, prm = address_bits(config.act_depth), address_bits(config.acc_depth), address_bits(config.prm_depth)
    either = max(act, acc)
    addresses = {"a": either, "w": address_bits(config.wgt_depth), "b": either, "p": prm, "d": either}
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "end": 1, **addresses})


def window_step_layout(config: Config) -> data.StructLayout:
    """Return what the window sequencer issues: a pixel's address, its column in the row, and whether it is a step.

    `valid`: a pixel is read; `complete`: the window that ends with it is a result's.
    """
    bits = {"a": address_bits(config.act_depth), "column": address_bits(config.depthwise.columns)}
    return data.StructLayout({"valid": 1, "complete": 1, **bits})


def member(view: data.View, name: str) -> Value:
    """Return a member of a view, or 0 where its layout lacks it."""
    layout = view.shape()
    return Value.cast(view[name]) if name in layout.members else Const(0, 1)
