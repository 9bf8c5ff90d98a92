"""The compute engine's decoder: from the raw word at the head of the queue to a registered command."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import (
    LOOPS,
    command_layout,
    engine_word_bits,
    extract_field,
    field_offset,
)
from tilewright.isa.instructions import Engine, Instruction, InstructionSet, Opcode


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
        gemm, vector = self._isa.by_name["GEMM"], self._isa.by_name["VECTOR"]
        word = self.instruction.payload
        is_vector = word[: gemm.fields[0].bits] == int(Opcode.VECTOR)

        decoded = Signal(self._layout)
        fields = {name for i in (gemm, vector) for name in i.operands} & set(self._layout.members)
        for name in self._layout.members:
            if name in fields:
                m.d.comb += decoded[name].eq(_merged_field(word, is_vector, gemm, vector, name))
        extents = [_merged_field(word, is_vector, gemm, vector, f"extent_{loop}") for loop in LOOPS]
        m.d.comb += [
            decoded.vector.eq(is_vector),
            decoded.empty.eq(Cat(extent == 0 for extent in extents).any()),
            decoded.single.eq(Cat(extent == 1 for extent in extents)),
            decoded.legal.eq(~is_vector | self._is_known(extract_field(word, vector, "op"))),
        ]

        command = Signal(self._layout, reset_less=True)
        with m.If(self.take):
            m.d.sync += self.valid.eq(0)
        with m.Elif(self.instruction.valid & ~self.valid):
            m.d.sync += [command.eq(decoded), self.valid.eq(1)]
        m.d.comb += [self.command.eq(command), self.instruction.ready.eq(self.take)]
        return m

    def _is_known(self, code: Value) -> Value:
        return Cat(code == op.code for op in self._isa.vector_ops).any()


def _merged_field(word: Value, is_vector: Value, gemm: Instruction, vector: Instruction, name: str) -> Value:
    """Return a field of either instruction, without a choice where both have it in the same place."""
    holders = [i for i in (gemm, vector) if name in i.operands and i.operands[name].bits]
    if len(holders) == 1:
        return extract_field(word, holders[0], name)
    places = {(field_offset(i, name), i.operands[name].bits) for i in holders}
    if len(places) == 1:
        return extract_field(word, gemm, name)
    return Mux(is_vector, extract_field(word, vector, name), extract_field(word, gemm, name))
