"""The epilogue: from a reduced sum to its destination, one result vector a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.accumulator_scratchpad import AccReadSignature, AccWriteSignature
from tilewright.hw.adder_tree import add_with_carry
from tilewright.hw.layouts import command_layout, member, step_layout
from tilewright.hw.lookup_table import LookupTables
from tilewright.hw.parameter_memory import ParameterReadSignature, ScaleLayout, bias_shape
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.requantizer import Requantizer
from tilewright.hw.residual_adder import ResidualAdder
from tilewright.hw.signatures import ActWriteSignature, address_bits, tbl_write_signature
from tilewright.hw.timing import (
    MEMORY_READ_CYCLES,
    REQUANTIZE_CYCLES,
    RESIDUAL_CYCLES,
    compute_timing,
)
from tilewright.isa.instructions import InstructionSet

#: Operands of the command that travel with a result; some configurations lack some.
CARRIED = (
    "vector", "row", "to_acc", "accumulate", "bias_enable", "residual", "table_enable", "table", "zero_out",
    "clamp_low", "clamp_high", "zero_a", "zero_b", "residual_multiplier_a", "residual_multiplier_b", "residual_shift",
    "residual_zero_out", "signal",
)  # fmt: skip


class Epilogue(wiring.Component):
    """Adds bias and partial sum, requantizes, adds the residual, clamps, looks up, writes; see `timing.ComputeTiming`.

    Cycles are counted from the issue of the step whose result it is.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    step : In(step_layout)
        Cycle 0.
    command : In(command_layout)
        The instruction that issues it.
    b : In(signed(8)).array(lanes)
        Operand b from `act`, at `operands`.
    gemm, vector, row : In(signed(acc_bits)).array(lanes)
        Sums at `reduced`, of which the instruction's unit gives the one; `row` only with row operations.
    addend : Out(AccReadSignature)
    bias, scale : Out(ParameterReadSignature)
    acc : Out(AccWriteSignature)
    act : Out(ActWriteSignature)
    tbl_write : In(EntryWriteSignature)
        Only with tables.
    finish : Out(1)
        An instruction's last result is written.
    finish_signal : Out(2)
        Its `signal` mask.
    """

    def __init__(self, isa: InstructionSet):
        self._config = config = isa.config
        sums = In(signed(config.gemm.acc_bits)).array(config.acc_lanes)
        ports = {
            "step": In(step_layout(config)),
            "command": In(command_layout(isa)),
            "b": In(signed(8)).array(config.acc_lanes),
            "gemm": sums,
            "vector": sums,
            **({"row": sums} if config.vector.rows else {}),
            "addend": Out(AccReadSignature(config)),
            "bias": Out(ParameterReadSignature(config, bias_shape(config))),
            "scale": Out(ParameterReadSignature(config, ScaleLayout(config))),
            "acc": Out(AccWriteSignature(config)),
            "act": Out(ActWriteSignature(config)),
            "finish": Out(1),
            "finish_signal": Out(2),
        }
        if config.epilogue.tables:
            ports["tbl_write"] = In(tbl_write_signature(config))
        super().__init__(ports)
        self.tables = LookupTables(config) if config.epilogue.tables else None

    def elaborate(self, platform):
        m = Module()
        timing = compute_timing(self._config)
        m.submodules.control_pipe = pipe = ControlPipe()
        for name in CARRIED:
            pipe.add(name, member(self.command, name))
        for name in ("b", "p", "d"):
            pipe.add(f"{name}_address", self.step[name])
        pipe.add("result", self.step.valid & self.step.last, resettable=True)
        pipe.add("end", self.step.end, resettable=True)

        sums = self._elaborate_sum(m, pipe, timing.reduced)
        m.d.comb += [
            self.acc.addr.eq(pipe.at("d_address", timing.summed)),
            self.acc.en.eq(pipe.at("result", timing.summed) & pipe.at("to_acc", timing.summed)),
        ]
        m.d.comb += [lane.eq(x) for lane, x in zip(self.acc.lanes, sums, strict=True)]
        # From here on only what goes to `act` counts.
        value = pipe.at("result", timing.summed) & ~pipe.at("to_acc", timing.summed)
        pipe.add("value", value, timing.summed, resettable=True)

        values = self._elaborate_requantize(m, pipe, timing.summed, sums)
        if self._config.epilogue.residual:
            values = self._elaborate_residual(m, pipe, timing.requantized, values)
        values = self._elaborate_clamp(m, pipe, timing.blended, values)
        if self.tables is not None:
            values = self._elaborate_lookup(m, self.tables, pipe, timing.clamped, values)
        self._elaborate_write(m, pipe, timing.latency, values)
        m.d.comb += [
            self.finish.eq(pipe.at("end", timing.latency)),
            self.finish_signal.eq(pipe.at("signal", timing.latency)),
        ]
        return m

    def _elaborate_sum(self, m: Module, pipe: ControlPipe, start: int) -> list[Value]:
        """Add bias and partial sum: one cycle to fold the two and choose the unit, one to add.

        Both are 0 where they are not read. Where the bias says so, the unit's sum and the partial sum are subtracted
        from it.
        """
        read = start - MEMORY_READ_CYCLES
        m.d.comb += [
            self.addend.addr.eq(pipe.at("b_address", read)),
            self.addend.en.eq(pipe.at("result", read) & pipe.at("accumulate", read)),
            self.bias.addr.eq(pipe.at("p_address", read)),
            self.bias.en.eq(pipe.at("result", read) & pipe.at("bias_enable", read)),
        ]
        shape = signed(self._config.gemm.acc_bits)
        lacks_one = ~pipe.at("vector", start + 1) if self._config.gemm.packed else Const(0, 1)
        if self._config.gemm.packed and self._config.vector.rows:
            lacks_one = lacks_one & ~pipe.at("row", start + 1)
        sums = []
        for i in range(self._config.acc_lanes):
            x = Signal(shape, name=f"x{i}", reset_less=True)
            folded = Signal(shape, name=f"folded{i}", reset_less=True)
            total = Signal(shape, name=f"total{i}", reset_less=True)
            summed = ~self.gemm[i] if self._config.gemm.packed else self.gemm[i]  # the sum less one, or the sum
            chosen = Mux(pipe.at("vector", start), self.vector[i], summed)
            addend: Value = self.addend.lanes[i]
            bias: Value = self.bias.channels[i % self._config.gemm.block_out]
            carry: Value = lacks_one
            if self._config.vector.rows:
                chosen = Mux(pipe.at("row", start), self.row[i], chosen)
                negates, bias, negated = bias.negates, bias.value, Signal(name=f"negated{i}", reset_less=True)
                chosen, addend = Mux(negates, ~chosen, chosen), Mux(negates, -addend, addend)
                carry = lacks_one ^ negated
                m.d.sync += negated.eq(negates)
            with m.If(pipe.at("result", start)):
                m.d.sync += [x.eq(chosen), folded.eq(addend + bias)]
            with m.If(pipe.at("result", start + 1)):
                m.d.sync += total.eq(add_with_carry(x, folded, carry))
            sums.append(total)
        return sums

    def _elaborate_requantize(self, m: Module, pipe: ControlPipe, start: int, sums: list[Value]) -> list[Value]:
        read = start - MEMORY_READ_CYCLES
        m.d.comb += [
            self.scale.addr.eq(pipe.at("p_address", read)),
            self.scale.en.eq(pipe.at("result", read) & ~pipe.at("to_acc", read)),
        ]
        enables = Cat(pipe.at("value", start + i) for i in range(REQUANTIZE_CYCLES))
        values = []
        for i, x in enumerate(sums):
            m.submodules[f"requantizer{i}"] = lane = Requantizer(self._config)
            scale = self.scale.channels[i % self._config.gemm.block_out]
            m.d.comb += [
                lane.x.eq(x),
                lane.multiplier.eq(scale.multiplier),
                lane.shift.eq(scale.shift),
                lane.zero.eq(pipe.at("zero_out", start + 4)),
                lane.en.eq(enables),
            ]
            values.append(lane.y)
        return values

    def _elaborate_residual(self, m: Module, pipe: ControlPipe, start: int, values: list[Value]) -> list[Value]:
        """Add operand b, which travelled alongside; where the instruction says not to, scale by one and add nothing."""
        operands = compute_timing(self._config).operands
        enables = Cat(pipe.at("value", start + i) for i in range(RESIDUAL_CYCLES))
        pipe.add("b", Cat(self.b), operands)

        def chosen(name: str, cycles: int, otherwise: int = 0) -> Value:
            return Mux(pipe.at("residual", start + cycles), pipe.at(name, start + cycles), otherwise)

        blended = []
        for i, y in enumerate(values):
            m.submodules[f"residual{i}"] = lane = ResidualAdder(self._config)
            m.d.comb += [
                lane.y.eq(y),
                lane.b.eq(pipe.at("b", start).word_select(i, 8)),
                lane.zero_a.eq(chosen("zero_a", 0)),
                lane.zero_b.eq(pipe.at("zero_b", start)),
                lane.multiplier_a.eq(chosen("residual_multiplier_a", 1, 1)),
                lane.multiplier_b.eq(chosen("residual_multiplier_b", 1)),
                lane.shift.eq(chosen("residual_shift", 3)),
                lane.zero_out.eq(chosen("residual_zero_out", 5)),
                lane.en.eq(enables),
            ]
            blended.append(lane.result)
        return blended

    def _elaborate_clamp(self, m: Module, pipe: ControlPipe, start: int, values: list[Value]) -> list[Value]:
        low, high = pipe.at("clamp_low", start), pipe.at("clamp_high", start)
        pipe.add("clamps_all", pipe.at("clamp_low", start - 1) > pipe.at("clamp_high", start - 1), start - 1)
        clamps_all = pipe.at("clamps_all", start)
        clamped = []
        for i, y in enumerate(values):
            register = Signal(signed(8), name=f"clamped{i}", reset_less=True)
            with m.If(pipe.at("value", start)):
                m.d.sync += register.eq(Mux((y > high) | clamps_all, high, Mux(y < low, low, y)))
            clamped.append(register)
        return clamped

    def _elaborate_lookup(
        self, m: Module, tables: LookupTables, pipe: ControlPipe, start: int, values: list[Value]
    ) -> list[Value]:
        m.submodules.tables = tables
        wiring.connect(m, wiring.flipped(self.tbl_write), tables.write)
        m.d.comb += [
            tables.en.eq(pipe.at("value", start)),
            tables.use.eq(pipe.at("table_enable", start)),
            tables.table.eq(pipe.at("table", start)),
        ]
        m.d.comb += [port.eq(y) for port, y in zip(tables.values, values, strict=True)]
        return list(tables.results)

    def _elaborate_write(self, m: Module, pipe: ControlPipe, start: int, values: list[Value]) -> None:
        """Put the lanes into their atoms; a result of one atom is offered to all, and written to the one addressed."""
        config = self._config
        atom_bits = address_bits(config.ratio)
        address = pipe.at("d_address", start)
        m.d.comb += [
            self.act.valid.eq(pipe.at("value", start)),
            self.act.row.eq(address[atom_bits:]),
        ]
        is_wide = config.gemm.block_out == config.lanes
        for i in range(config.ratio):
            first = i * config.atom if is_wide else 0
            channels = range(first, first + config.atom)
            rows = range(config.gemm.batch)
            m.d.comb += [
                self.act.data[i].eq(Cat(values[b * config.gemm.block_out + c] for b in rows for c in channels)),
                self.act.en[i].eq(1 if is_wide else address[:atom_bits] == i),
            ]
