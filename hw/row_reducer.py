"""The reduction of a row: over the lanes of a step, then over the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.row_lane import SQUARE_BITS
from tilewright.hw.timing import TREE_LEVELS_PER_STAGE, row_reduce_cycles
from tilewright.isa.config import Config
from tilewright.isa.row_ops import SUM_BITS

VALUE_BITS = SQUARE_BITS + 1
_LOWEST = -128


class RowReducer(wiring.Component):
    """Sum and maximum of `block_out` lanes; both hold a step `row_reduce_cycles` after its values.

    Parameters
    ----------
    config : Config

    Members
    -------
    valid, first : In(1)
        A step; it begins a row.
    counts : In(block_out)
        Which lanes count.
    values : In(signed(31)).array(block_out)
    total : Out(SUM_BITS)
    largest : Out(signed(8))
        Of the values' lowest bits.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "counts": In(config.gemm.block_out),
                "values": In(signed(VALUE_BITS)).array(config.gemm.block_out),
                "total": Out(SUM_BITS),
                "largest": Out(signed(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cycles = row_reduce_cycles(self._config)
        m.submodules.reduce_pipe = pipe = ControlPipe()
        pipe.add("valid", self.valid, resettable=True)
        pipe.add("first", self.first)
        en = Cat(pipe.at("valid", i) for i in range(cycles))

        terms, candidates = [], []
        for i, value in enumerate(self.values):
            term = Signal(signed(VALUE_BITS), name=f"term{i}", reset_less=True)
            candidate = Signal(signed(8), name=f"candidate{i}", reset_less=True)
            with m.If(en[0]):
                m.d.sync += [
                    term.eq(Mux(self.counts[i], value, 0)),
                    candidate.eq(Mux(self.counts[i], value[:8].as_signed(), _LOWEST)),
                ]
            terms.append(term)
            candidates.append(candidate)
        step_sum = _tree(m, "sums", terms, en[1:], lambda x, y: x + y)
        step_largest = _tree(m, "largest", candidates, en[1:], _larger)

        total = Signal(unsigned(SUM_BITS), reset_less=True)
        largest = Signal(signed(8), reset_less=True)
        first = pipe.at("first", cycles - 1)
        with m.If(en[-1]):
            m.d.sync += [
                total.eq(Mux(first, 0, total) + step_sum),
                largest.eq(Mux(first, step_largest, _larger(largest, step_largest))),
            ]
        m.d.comb += [self.total.eq(total), self.largest.eq(largest)]
        return m


def _larger(x: Value, y: Value) -> Value:
    return Mux(x > y, x, y)


def _tree(m: Module, name: str, terms: Sequence[Value], en: Value, combine: Callable[[Value, Value], Value]) -> Value:
    """Combine terms pairwise, with a register behind every `TREE_LEVELS_PER_STAGE` levels and the last."""
    stage, left = 0, list(terms)
    while len(left) > 1:
        for _ in range(TREE_LEVELS_PER_STAGE):
            left = [combine(x, y) for x, y in zip(left[::2], left[1::2], strict=True)] if len(left) > 1 else left
        registers = [Signal(value.shape(), name=f"{name}{stage}_{i}", reset_less=True) for i, value in enumerate(left)]
        with m.If(en[stage]):
            m.d.sync += [register.eq(value) for register, value in zip(registers, left, strict=True)]
        stage, left = stage + 1, list(registers)
    return left[0]
