"""The row unit: softmax and normalisation along rows, batch row by batch row."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.row_finish import RowFinish
from tilewright.hw.row_lane import DROPPED_BITS, MANTISSA, RowLane
from tilewright.hw.row_reducer import RowReducer
from tilewright.hw.timing import (
    ROW_FACTOR_CYCLES,
    ROW_FINISH_CYCLES,
    ROW_LANE_CYCLES,
    row_reduce_cycles,
    row_start_cycles,
)
from tilewright.isa.instruction_fields import OP_BITS
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.row_ops import (
    HALF_BITS,
    LOG_FRACTION,
    MANTISSA_FRACTION,
    MEAN_FRACTION,
    NORMAL_FRACTION,
    OFFSET_BITS,
    SCALE_BITS,
    SPREAD_FRACTION,
)

_PRODUCT = ROW_LANE_CYCLES["square_sum"]
_POWER = ROW_LANE_CYCLES["exp_sum"]


class RowUnit(wiring.Component):
    """Lanes, and for each batch row a reducer, a finisher and what its entry in `acc` gives to the lanes.

    Results of an operation come `timing.row_delay_cycles` later than those of the array and the vector unit.
    Instructions keep that distance, so that results never meet.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    valid, first, last : In(1)
        A step's operands are there; it begins, ends a reduction.
    op : In(OP_BITS)
    tail : In(lane number)
    scale : In(SCALE_BITS)
    offset : In(OFFSET_BITS)
    a : In(signed(8)).array(lanes)
    b : In(signed(32)).array(batch)
    x : Out(signed(32)).array(lanes)
    """

    def __init__(self, isa: InstructionSet):
        self._config = config = isa.config
        self._ops = {op.name: op for op in isa.row_ops}
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "op": In(OP_BITS),
                "tail": In(range(config.gemm.block_out)),
                "scale": In(SCALE_BITS),
                "offset": In(OFFSET_BITS),
                "a": In(signed(8)).array(config.acc_lanes),
                "b": In(signed(32)).array(config.gemm.batch),
                "x": Out(signed(32)).array(config.acc_lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.row_pipe = self._pipe = pipe = ControlPipe()
        start = -row_start_cycles(self._config)  # what is held back, is before cycle 0
        pipe.add("valid", self.valid, start, resettable=True)
        for name in ("first", "last", "op", "tail", "scale", "offset"):
            pipe.add(name, getattr(self, name), start)
        pipe.add("a", Cat(self.a), start)
        for row, b in enumerate(self.b):
            pipe.add(f"b{row}", b, start)
        self._elaborate_constants(m)
        entry = self._elaborate_entry(m)
        for row in range(self._config.gemm.batch):
            lanes = self._elaborate_lanes(m, row)
            self._elaborate_results(m, row, lanes, self._elaborate_reduction(m, row, lanes, entry))
        return m

    def _is(self, cycle: int, *names: str) -> Value:
        """Tell whether the step at a cycle is one of these operations'."""
        op = self._pipe.at("op", cycle)
        return Cat(op == self._ops[name].code for name in names).any()

    def _elaborate_constants(self, m: Module) -> None:
        """Keep what an instruction says for all its steps."""
        self._scale = Signal(SCALE_BITS, reset_less=True)
        self._offset = Signal(OFFSET_BITS, reset_less=True)
        self._counts = Signal(self._config.gemm.block_out, reset_less=True)
        tail = self._pipe.at("tail", ROW_FACTOR_CYCLES)
        lanes = range(self._config.gemm.block_out)
        with m.If(self._pipe.at("valid", ROW_FACTOR_CYCLES)):
            m.d.sync += [
                self._scale.eq(self._pipe.at("scale", ROW_FACTOR_CYCLES)),
                self._offset.eq(self._pipe.at("offset", ROW_FACTOR_CYCLES)),
                self._counts.eq(Cat((tail == 0) | (tail > lane) for lane in lanes)),
            ]

    def _elaborate_entry(self, m: Module) -> dict[str, Value]:
        """Choose the step whose values enter the reducers: each operation's do when they are ready."""
        ready = {name: ROW_LANE_CYCLES[name] for name, op in self._ops.items() if op.reduce}
        enters = {name: self._pipe.at("valid", cycle) & self._is(cycle, name) for name, cycle in ready.items()}
        passes = enters["max"] | enters["sum"]
        cycles = ((ROW_LANE_CYCLES["sum"], passes), (_PRODUCT, enters["square_sum"]), (_POWER, enters["exp_sum"]))

        def chosen(name: str) -> Value:
            value: Value = self._pipe.at(name, cycles[0][0])
            for cycle, enter in cycles[1:]:
                value = Mux(enter, self._pipe.at(name, cycle), value)
            return value

        first, last = Signal(), Signal()
        m.d.comb += [first.eq(chosen("first")), last.eq(chosen("last"))]
        entry = {**enters, "valid": Cat(enters.values()).any(), "first": first, "last": last}
        for row in range(self._config.gemm.batch):
            b = Signal(signed(32), name=f"entering_b{row}")
            m.d.comb += b.eq(chosen(f"b{row}"))
            entry[f"b{row}"] = b
        m.submodules.finish_pipe = self._finish_pipe = pipe = ControlPipe()
        for name in ("max", "square_sum", "exp_sum"):
            pipe.add(name, entry[name])
        for row in range(self._config.gemm.batch):
            pipe.add(f"b{row}", entry[f"b{row}"])
        return entry

    def _elaborate_factors(self, m: Module, row: int) -> tuple[Value, Value]:
        """Return, at `ROW_FACTOR_CYCLES`, what the lanes subtract from `a` and what they multiply."""
        pipe = self._pipe

        def registered(name: str, value: Value, cycle: int) -> Value:
            register = Signal(value.shape(), name=f"{name}{row}_{cycle}", reset_less=True)
            m.d.sync += register.eq(value)
            return register

        spread = pipe.at(f"b{row}", 0)[:SPREAD_FRACTION]
        fraction = Cat(Const(0, LOG_FRACTION - SPREAD_FRACTION), spread)
        mantissa = registered("reciprocal", MANTISSA.elaborate(m, "reciprocal", fraction, 1, registered), 3)
        factor = Mux(self._is(ROW_FACTOR_CYCLES, "normalise"), mantissa, pipe.at("scale", ROW_FACTOR_CYCLES))

        b = pipe.at(f"b{row}", ROW_FACTOR_CYCLES - 1)
        low, high = b[:HALF_BITS].as_signed(), b[HALF_BITS:].as_signed()
        half = 1 << (DROPPED_BITS - 1)
        mean = Mux(self._is(ROW_FACTOR_CYCLES - 1, "square_sum"), low - half, high)
        return registered("mean", mean, ROW_FACTOR_CYCLES), factor

    def _elaborate_lanes(self, m: Module, row: int) -> list[RowLane]:
        pipe, start = self._pipe, ROW_FACTOR_CYCLES
        mean, factor = self._elaborate_factors(m, row)
        whole = pipe.at(f"b{row}", _PRODUCT)[SPREAD_FRACTION:HALF_BITS].as_signed()
        shift = whole + (MEAN_FRACTION + MANTISSA_FRACTION - NORMAL_FRACTION)
        lanes = []
        for channel in range(self._config.gemm.block_out):
            i = row * self._config.gemm.block_out + channel
            m.submodules[f"lane{i}"] = lane = RowLane()
            m.d.comb += [
                lane.a.eq(pipe.at("a", start).word_select(i, 8)),
                lane.mean.eq(mean),
                lane.factor.eq(factor),
                lane.squares.eq(self._is(start, "square_sum")),
                lane.deviates.eq(self._is(start, "normalise")),
                lane.exponent.eq(pipe.at(f"b{row}", _PRODUCT)),
                lane.shift.eq(shift),
                lane.en.eq(Cat(pipe.at("valid", cycle) for cycle in range(start, _POWER))),
            ]
            lanes.append(lane)
        return lanes

    def _elaborate_reduction(self, m: Module, row: int, lanes: list[RowLane], entry: dict[str, Value]) -> Value:
        """Reduce the lanes' values and return the result of the row."""
        reducer, finish, pipe = RowReducer(self._config), RowFinish(), self._finish_pipe
        m.submodules[f"reducer{row}"] = reducer
        m.submodules[f"finish{row}"] = finish
        m.d.comb += [
            reducer.valid.eq(entry["valid"]),
            reducer.first.eq(entry["first"]),
            reducer.counts.eq(self._counts | ~entry["last"].replicate(len(self._counts))),
        ]
        for value, lane in zip(reducer.values, lanes, strict=True):
            passed = Mux(entry["square_sum"], lane.square, lane.passed)
            m.d.comb += value.eq(Mux(entry["exp_sum"], lane.power, passed))
        reduced = row_reduce_cycles(self._config)
        done = reduced + ROW_FINISH_CYCLES
        # With a reset, so that no shift register, whose output is slow, leads to the multiplier.
        takes_largest = Signal(name=f"takes_largest{row}")
        m.d.sync += takes_largest.eq(pipe.at("max", reduced - 1))
        m.d.comb += [
            finish.total.eq(reducer.total),
            finish.largest.eq(reducer.largest),
            finish.takes_largest.eq(takes_largest),
            finish.adds_offset.eq(pipe.at("square_sum", reduced)),
            finish.scale.eq(self._scale),
            finish.offset.eq(self._offset),
            finish.b.eq(pipe.at(f"b{row}", done - 2)),
            finish.late_b.eq(pipe.at(f"b{row}", done - 1)),
            finish.is_exp_sum.eq(pipe.at("exp_sum", done - 1)),
            finish.is_square_sum.eq(pipe.at("square_sum", done - 1)),
        ]
        return finish.result

    def _elaborate_results(self, m: Module, row: int, lanes: list[RowLane], result: Value) -> None:
        """Give every lane its own result, where one is ready, else the row's."""
        normal, power = ROW_LANE_CYCLES["normalise"], ROW_LANE_CYCLES["exp"]
        is_normal = self._pipe.at("valid", normal) & self._is(normal, "normalise")
        is_power = self._pipe.at("valid", power) & self._is(power, "exp")
        for channel, lane in enumerate(lanes):
            own = Mux(is_normal, lane.normal, lane.power)
            m.d.comb += self.x[row * len(lanes) + channel].eq(Mux(is_normal | is_power, own, result))
