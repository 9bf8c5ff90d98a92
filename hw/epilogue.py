"""The epilogue: from a reduced sum to its destination, one result vector every `epilogue.interval` cycles."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.accumulator_scratchpad import AccWriteSignature, AddendReadSignature
from tilewright.hw.adder_tree import add_with_carry
from tilewright.hw.layouts import command_layout, member, step_layout
from tilewright.hw.lookup_table import LookupTables
from tilewright.hw.parameter_memory import ParameterReadSignature, ScaleLayout, bias_shape
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.requantizer import Requantizer
from tilewright.hw.residual_adder import ResidualAdder
from tilewright.hw.signatures import ACT_HALVES, ActWriteSignature, address_bits, tbl_write_signature
from tilewright.hw.timing import (
    MEMORY_READ_CYCLES,
    REQUANTIZE_CYCLES,
    RESIDUAL_CYCLES,
    compute_timing,
)
from tilewright.hw.turns import is_turn, lanes_of, turn_bits, turn_of
from tilewright.isa.instructions import InstructionSet

#: Operands of the command that travel with a result; some configurations lack some.
CARRIED = (
    "vector", "row", "to_acc", "accumulate", "bias_enable", "residual", "table_enable", "table", "zero_out",
    "clamp_low", "clamp_high", "zero_a", "zero_b", "residual_multiplier_a", "residual_multiplier_b", "residual_shift",
    "residual_zero_out",
)  # fmt: skip


class Epilogue(wiring.Component):
    """Adds bias and partial sum, requantizes, adds the residual, clamps, looks up, writes; see `timing.ComputeTiming`.

    Cycles are counted from the issue of the step whose result it is. Where a result takes several cycles, its channels
    take turns in the lanes: what is carried alongside stands still for as long, and `turn` counts.

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
    addend : Out(AddendReadSignature)
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
            "addend": Out(AddendReadSignature(config)),
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
        pipe.add("end", self.step.end, resettable=True)
        pipe.add("signal", member(self.command, "signal"))
        self._elaborate_entry(m, pipe)

        sums = self._elaborate_sum(m, pipe, timing.reduced)
        m.d.comb += [
            self.acc.addr.eq(pipe.at("d_address", timing.summed)),
            self.acc.turn.eq(pipe.at("turn", timing.summed)),
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
        self._elaborate_write(m, pipe, timing.latency - self._config.epilogue.interval + 1, values)
        m.d.comb += [
            self.finish.eq(pipe.at("end", timing.latency)),
            self.finish_signal.eq(pipe.at("signal", timing.latency)),
        ]
        return m

    def _elaborate_entry(self, m: Module, pipe: ControlPipe) -> None:
        """Carry the instruction's operands and the step's addresses alongside, in each turn of the result."""
        carried = {name: member(self.command, name) for name in CARRIED}
        carried |= {f"{name}_address": self.step[name] for name in ("b", "p", "d")}
        turn, takes = Signal(turn_bits(self._config)), Signal()
        is_result = self.step.valid & self.step.last
        if self._config.epilogue.interval == 1:
            for name, value in carried.items():
                pipe.add(name, value)
            pipe.add("result", is_result, resettable=True)
            pipe.add("turn", turn)
            return
        for name, value in carried.items():
            kept = Signal(Value.cast(value).shape(), name=f"kept_{name}", reset_less=True)
            with m.If(is_result):
                m.d.sync += kept.eq(value)
            pipe.add(name, kept, 1)
        with m.If(is_result):
            m.d.sync += [takes.eq(1), turn.eq(0)]
        with m.Elif(takes):
            m.d.sync += [takes.eq(~turn.all()), turn.eq(turn + 1)]
        pipe.add("result", takes, 1, resettable=True)
        pipe.add("turn", turn, 1)

    def _in_turns(self, m: Module, pipe: ControlPipe, name: str, lanes: Sequence[Value], cycle: int) -> list[Value]:
        """Give each turn its part of what all lanes have at `cycle`; what comes after the first turn is kept for it."""
        if self._config.epilogue.interval == 1:
            return list(lanes)
        turn = pipe.at("turn", cycle)
        arrives = pipe.at("result", cycle) & (turn == 0)
        chosen = []
        for place in range(self._config.turn_lanes):
            first, *others = (lanes[lane] for lane in lanes_of(self._config, place))
            kept = [Signal(x.shape(), name=f"{name}{place}_{i}", reset_less=True) for i, x in enumerate(others)]
            with m.If(arrives):
                m.d.sync += [register.eq(x) for register, x in zip(kept, others, strict=True)]
            chosen.append(Array((first, *kept))[turn])
        return chosen

    def _elaborate_sum(self, m: Module, pipe: ControlPipe, start: int) -> list[Value]:
        """Add bias and partial sum: one cycle to fold the two and choose the unit, one to add.

        Both are 0 where they are not read. Where the bias says so, the unit's sum and the partial sum are subtracted
        from it.
        """
        read = start - MEMORY_READ_CYCLES
        m.d.comb += [
            self.addend.addr.eq(pipe.at("b_address", read)),
            self.addend.turn.eq(pipe.at("turn", read)),
            self.addend.en.eq(pipe.at("result", read) & pipe.at("accumulate", read)),
            self.bias.addr.eq(pipe.at("p_address", read)),
            self.bias.turn.eq(pipe.at("turn", read)),
            self.bias.en.eq(pipe.at("result", read) & pipe.at("bias_enable", read)),
        ]
        shape = signed(self._config.gemm.acc_bits)
        lacks_one = ~pipe.at("vector", start + 1) if self._config.gemm.packed else Const(0, 1)
        if self._config.gemm.packed and self._config.vector.rows:
            lacks_one = lacks_one & ~pipe.at("row", start + 1)
        gemm = self._in_turns(m, pipe, "gemm", self.gemm, start)
        vector = self._in_turns(m, pipe, "vector", self.vector, start)
        sums = []
        for i in range(self._config.turn_lanes):
            x = Signal(shape, name=f"x{i}", reset_less=True)
            folded = Signal(shape, name=f"folded{i}", reset_less=True)
            total = Signal(shape, name=f"total{i}", reset_less=True)
            summed = ~gemm[i] if self._config.gemm.packed else gemm[i]  # the sum less one, or the sum
            chosen = Mux(pipe.at("vector", start), vector[i], summed)
            addend: Value = self.addend.lanes[i]
            bias: Value = self.bias.channels[i % self._config.turn_channels]
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
            self.scale.turn.eq(pipe.at("turn", read)),
            self.scale.en.eq(pipe.at("result", read) & ~pipe.at("to_acc", read)),
        ]
        enables = Cat(pipe.at("value", start + i) for i in range(REQUANTIZE_CYCLES))
        values = []
        for i, x in enumerate(sums):
            m.submodules[f"requantizer{i}"] = lane = Requantizer(self._config)
            scale = self.scale.channels[i % self._config.turn_channels]
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
        pipe.add("b", Cat(self._in_turns(m, pipe, "b", self.b, operands)), operands)

        def chosen(name: str, cycles: int, otherwise: int = 0) -> Value:
            before = start + cycles - 1  # nothing stands between the register and a multiplier
            pipe.add(f"chosen_{name}", Mux(pipe.at("residual", before), pipe.at(name, before), otherwise), before)
            return pipe.at(f"chosen_{name}", start + cycles)

        factors = chosen("residual_multiplier_a", 1, 1), chosen("residual_multiplier_b", 1)
        zero_a, shift, zero_out = chosen("zero_a", 0), chosen("residual_shift", 3), chosen("residual_zero_out", 5)

        blended = []
        for i, y in enumerate(values):
            m.submodules[f"residual{i}"] = lane = ResidualAdder(self._config)
            m.d.comb += [
                lane.y.eq(y),
                lane.b.eq(pipe.at("b", start).word_select(i, 8)),
                lane.zero_a.eq(zero_a),
                lane.zero_b.eq(pipe.at("zero_b", start)),
                lane.multiplier_a.eq(factors[0]),
                lane.multiplier_b.eq(factors[1]),
                lane.shift.eq(shift),
                lane.zero_out.eq(zero_out),
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
        is_complete, lanes = self._elaborate_result(m, pipe.at("value", start), pipe.at("turn", start), values)
        m.d.comb += [
            self.act.valid.eq(is_complete),
            self.act.row.eq(address[atom_bits:]),
        ]
        for half in range(ACT_HALVES):  # in registers: the load engine waits for it
            completes = pipe.at("value", start - 1) & is_turn(
                config, pipe.at("turn", start - 1), config.epilogue.interval - 1
            )
            goes_here = completes & (pipe.at("d_address", start - 1)[atom_bits] == half)
            pipe.add(f"half{half}", goes_here, start - 1, resettable=True)
            m.d.comb += self.act.halves[half].eq(pipe.at(f"half{half}", start))
        is_wide = config.gemm.block_out == config.lanes
        for i in range(config.ratio):
            first = i * config.atom if is_wide else 0
            channels = range(first, first + config.atom)
            rows = range(config.gemm.batch)
            m.d.comb += [
                self.act.data[i].eq(Cat(lanes[b * config.gemm.block_out + c] for b in rows for c in channels)),
                self.act.en[i].eq(1 if is_wide else address[:atom_bits] == i),
            ]

    def _elaborate_result(
        self, m: Module, value: Value, turn: Value, values: list[Value]
    ) -> tuple[Value, Sequence[Value]]:
        """Collect the turns of a result: return whether the last one is there, and all lanes."""
        config = self._config
        if config.epilogue.interval == 1:
            return value, values
        lanes = []
        for lane in range(config.acc_lanes):
            number, place = turn_of(config, lane)
            if number == config.epilogue.interval - 1:
                lanes.append(values[place])
                continue
            kept = Signal(signed(8), name=f"kept{lane}", reset_less=True)
            with m.If(value & (turn == number)):
                m.d.sync += kept.eq(values[place])
            lanes.append(kept)
        return value & turn.all(), lanes
