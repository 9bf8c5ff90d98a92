"""The compute engine's decoder: from the raw word at the head of the queue to a registered command."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import (
    LOOPS,
    command_layout,
    engine_word_bits,
    extract_field,
    field_offset,
)
from tilewright.isa.fields import FieldKind
from tilewright.isa.instructions import OPCODE_BITS, Engine, Instruction, InstructionSet, Opcode
from tilewright.isa.semantics import OUT_LOOPS

#: Weights' strides that DEPTHWISE lacks, which has one entry a channel block.
_FIXED_WEIGHTS = tuple(f"w_{loop}" for loop in OUT_LOOPS[1:])

#: The only reduction loop that DEPTHWISE lacks.
_KERNELS = "extent_red0"


class ComputeDecoder(wiring.Component):
    """Keeps the decoded head of the queue ready; the head stays in the queue until `take`.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    instruction : In(stream of raw words)
    command : Out(command_layout)
    valid : Out(1)
        `command` holds the head of the queue.
    take : In(1)
        The command starts now; only while `valid`.
    """

    def __init__(self, isa: InstructionSet):
        self._isa = isa
        self._layout = command_layout(isa)
        super().__init__(
            {
                "instruction": In(stream.Signature(engine_word_bits(isa, Engine.COMPUTE))),
                "command": Out(self._layout),
                "valid": Out(1),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        instructions = self._isa.of_engine(Engine.COMPUTE)
        word = self.instruction.payload
        opcode = word[:OPCODE_BITS]
        is_vector, is_depthwise, is_row = opcode == int(Opcode.VECTOR), Signal(), Signal()

        decoded = Signal(self._layout)
        fields = {name for i in instructions for name in i.operands} & set(self._layout.members)
        merged = {name: _merged_field(word, opcode, instructions, name) for name in fields}
        for name in self._layout.members:
            if name in fields:
                lacks = is_depthwise if name in _FIXED_WEIGHTS else _lacks_flag(opcode, instructions, name)
                m.d.comb += decoded[name].eq(Mux(lacks, 0, merged[name]))
        extents = {f"extent_{loop}": merged[f"extent_{loop}"] for loop in LOOPS}
        zero = [(e == 0) & ~(is_depthwise if name == _KERNELS else 0) for name, e in extents.items()]
        one = [(e == 1) | (is_depthwise if name.startswith("extent_red") else 0) for name, e in extents.items()]
        m.d.comb += [
            decoded.vector.eq(is_vector),
            decoded.empty.eq(Cat(zero).any()),
            decoded.single.eq(Cat(one)),
            decoded.legal.eq(1),
        ]
        with m.Switch(opcode):
            for instruction in instructions:
                with m.Case(int(instruction.opcode)):
                    m.d.comb += decoded.legal.eq(_is_legal(word, instruction))
        if self._isa.config.depthwise.enabled:
            m.d.comb += [is_depthwise.eq(opcode == int(Opcode.DEPTHWISE)), decoded.depthwise.eq(is_depthwise)]
        if self._isa.config.vector.rows:
            m.d.comb += [is_row.eq(opcode == int(Opcode.ROW)), decoded.row.eq(is_row)]

        command = Signal(self._layout, reset_less=True)
        # `take` comes late, and only while `valid`: it stays off what enables the command's registers.
        decodes = self.instruction.valid & ~self.valid
        m.d.sync += self.valid.eq((self.valid & ~self.take) | decodes)
        with m.If(decodes):
            m.d.sync += command.eq(decoded)
        m.d.comb += [self.command.eq(command), self.instruction.ready.eq(self.take)]
        return m


def _is_legal(word: Value, instruction: Instruction) -> Value:
    """Tell whether operands are what the instruction's fields and constraints allow."""
    values = {name: extract_field(word, instruction, name) for name in instruction.operands}
    known = (Cat(values[f.name] == code for code in f.choices.values()).any() for f in instruction.fields if f.choices)
    small = (values[f.name] <= f.maximum for f in instruction.fields if f.maximum is not None)
    checks = [*known, *small, *(constraint.holds(values) for constraint in instruction.constraints)]
    return Cat(checks).all() if checks else Const(1)


def _lacks_flag(opcode: Value, instructions: Sequence[Instruction], name: str) -> Value:
    """Tell whether this is a flag, and one that the instruction lacks: its bits hold something else then."""
    holders = [i for i in instructions if name in i.operands and i.operands[name].bits]
    if not holders or len(holders) == len(instructions) or holders[0].operands[name].kind is not FieldKind.FLAG:
        return Const(0)
    return ~Cat(opcode == int(i.opcode) for i in holders).any()


def _merged_field(word: Value, opcode: Value, instructions: Sequence[Instruction], name: str) -> Value:
    """Return a field of any of the instructions, without a choice between those that have it in the same place."""
    holders = [i for i in instructions if name in i.operands and i.operands[name].bits]
    by_place: dict[tuple[int, int], list[Instruction]] = {}
    for i in holders:
        by_place.setdefault((field_offset(i, name), i.operands[name].bits), []).append(i)
    groups = list(by_place.values())
    value = extract_field(word, groups[0][0], name)
    for group in groups[1:]:
        chosen = Cat(opcode == int(i.opcode) for i in group).any()
        value = Mux(chosen, extract_field(word, group[0], name), value)
    return value
