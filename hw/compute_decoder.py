"""The compute engine's decoder: from the raw word at the head of the queue to a registered command."""

from __future__ import annotations

from collections.abc import Sequence

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
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

#: Weights' strides that DEPTHWISE lacks, which has one entry a channel block.
_FIXED_WEIGHTS = tuple(f"w_{loop}" for loop in OUT_LOOPS[1:])

#: The only reduction loop that DEPTHWISE lacks.
_KERNELS = "extent_red0"

#: Flags that ROW lacks.
_ONE_OPERAND = ("accumulate", "residual")


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
        vector = self._isa.by_name["VECTOR"]
        word = self.instruction.payload
        opcode = word[: vector.fields[0].bits]
        is_vector, is_depthwise, is_row = opcode == int(Opcode.VECTOR), Signal(), Signal()

        decoded = Signal(self._layout)
        fields = {name for i in instructions for name in i.operands} & set(self._layout.members)
        merged = {name: _merged_field(word, opcode, instructions, name) for name in fields}
        for name in self._layout.members:
            if name in fields:
                lacks = is_depthwise if name in _FIXED_WEIGHTS else is_row if name in _ONE_OPERAND else None
                m.d.comb += decoded[name].eq(merged[name] if lacks is None else Mux(lacks, 0, merged[name]))
        extents = {f"extent_{loop}": merged[f"extent_{loop}"] for loop in LOOPS}
        zero = [(e == 0) & ~(is_depthwise if name == _KERNELS else 0) for name, e in extents.items()]
        one = [(e == 1) | (is_depthwise if name.startswith("extent_red") else 0) for name, e in extents.items()]
        m.d.comb += [
            decoded.vector.eq(is_vector),
            decoded.empty.eq(Cat(zero).any()),
            decoded.single.eq(Cat(one)),
            decoded.legal.eq(~is_vector | self._is_known(extract_field(word, vector, "op"))),
        ]
        if self._isa.config.depthwise.enabled:
            m.d.comb += [is_depthwise.eq(opcode == int(Opcode.DEPTHWISE)), decoded.depthwise.eq(is_depthwise)]
            with m.If(is_depthwise):
                m.d.comb += decoded.legal.eq(self._fits(word))
        if self._isa.config.vector.rows:
            m.d.comb += [is_row.eq(opcode == int(Opcode.ROW)), decoded.row.eq(is_row)]
            with m.If(is_row):
                m.d.comb += decoded.legal.eq(self._is_row_legal(word))

        command = Signal(self._layout, reset_less=True)
        with m.If(self.take):
            m.d.sync += self.valid.eq(0)
        with m.Elif(self.instruction.valid & ~self.valid):
            m.d.sync += [command.eq(decoded), self.valid.eq(1)]
        m.d.comb += [self.command.eq(command), self.instruction.ready.eq(self.take)]
        return m

    def _is_known(self, code: Value) -> Value:
        return Cat(code == op.code for op in self._isa.vector_ops).any()

    def _is_row_legal(self, word: Value) -> Value:
        """Tell whether the row operation exists, and its result goes where, and its extents are what, they must."""
        row = self._isa.by_name["ROW"]
        op, to_acc, bias = (extract_field(word, row, name) for name in ("op", "to_acc", "bias_enable"))
        has_one_step = Cat(extract_field(word, row, f"extent_{loop}") <= 1 for loop in RED_LOOPS).all()
        reduces = Cat(op == o.code for o in self._isa.row_ops if o.reduce).any()
        maps = Cat(op == o.code for o in self._isa.row_ops if not o.reduce).any()
        return (reduces & to_acc & ~bias) | (maps & has_one_step)

    def _fits(self, word: Value) -> Value:
        """Tell whether a depthwise kernel fits into the window, and an input row into the line buffer."""
        config, depthwise = self._isa.config, self._isa.by_name["DEPTHWISE"]
        names = ("extent_out2", "extent_red1", "extent_red2", "double_x")
        outputs, kernel_rows, kernel_columns, double_x = (extract_field(word, depthwise, name) for name in names)
        before_last = Mux(double_x, 2 * outputs - 2, outputs - 1)
        return (
            (kernel_rows <= config.window_rows)
            & (kernel_columns <= config.window_columns)
            & (before_last + kernel_columns <= config.depthwise.columns)
        )


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
