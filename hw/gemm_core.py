"""The multiply-accumulate array."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import compute_timing
from tilewright.isa.config import Config


def tree_levels(block_in: int, stages: int) -> list[int]:
    """Return how many levels of two-input adders stand before each register of the tree."""
    levels = block_in.bit_length() - 1
    return [levels // stages + (i < levels % stages) for i in range(stages)]


class DotProduct(Repeated):
    """A dot product a cycle, accumulated.

    Parameters
    ----------
    config : Config

    Members
    -------
    a, w : In(block_in int8)
    en : In(stages)
        Which registers take new values: products, the tree's levels, the accumulator.
    first : In(1)
        What reaches the accumulator starts a new sum.
    x : Out(signed(acc_bits))
    """

    def __init__(self, config: Config):
        self._config = config
        timing = compute_timing(config)
        self._levels = tree_levels(config.gemm.block_in, timing.tree)
        operand = data.ArrayLayout(8, config.gemm.block_in)
        super().__init__(
            {
                "a": In(operand),
                "w": In(operand),
                "en": In(timing.reduced - timing.operands),
                "first": In(1),
                "x": Out(signed(config.gemm.acc_bits)),
            }
        )

    @property
    def kind(self):
        return (self._config.gemm,)

    def elaborate_one(self, platform):
        m = Module()
        terms = [Signal(signed(16), name=f"product{k}", reset_less=True) for k in range(self._config.gemm.block_in)]
        with m.If(self.en[0]):
            m.d.sync += [t.eq(self.a[k].as_signed() * self.w[k].as_signed()) for k, t in enumerate(terms)]
        for stage, levels in enumerate(self._levels):
            sums = terms
            for _ in range(levels):
                sums = [x + y for x, y in zip(sums[::2], sums[1::2], strict=True)]
            terms = [Signal(s.shape(), name=f"sum{stage}_{i}", reset_less=True) for i, s in enumerate(sums)]
            with m.If(self.en[1 + stage]):
                m.d.sync += [t.eq(s) for t, s in zip(terms, sums, strict=True)]
        (total,) = terms
        x = Signal(signed(self._config.gemm.acc_bits), reset_less=True)
        with m.If(self.en[-1]):
            m.d.sync += x.eq(Mux(self.first, 0, x) + total)
        m.d.comb += self.x.eq(x)
        return m


class GemmCore(wiring.Component):
    """`batch x block_out` dot products of `block_in`; sums are complete `reduced - operands` cycles later.

    Parameters
    ----------
    config : Config

    Members
    -------
    valid : In(1)
        Operands are there.
    first : In(1)
        They begin a sum.
    a : In(block_in int8).array(batch)
    w : In(block_in int8).array(block_out)
    x : Out(signed(acc_bits)).array(batch * block_out)
        Sums so far, batch-major.
    windowed : In(1)
        Only with the depthwise mode: the lanes take their windows instead of `a`.
    windows : In(block_in int8).array(batch * block_out)
        Only with the depthwise mode.
    """

    def __init__(self, config: Config):
        self._config = config
        operand = data.ArrayLayout(8, config.gemm.block_in)
        ports = {
            "valid": In(1),
            "first": In(1),
            "a": In(operand).array(config.gemm.batch),
            "w": In(operand).array(config.gemm.block_out),
            "x": Out(signed(config.gemm.acc_bits)).array(config.acc_lanes),
        }
        if config.depthwise.enabled:
            ports |= {"windowed": In(1), "windows": In(operand).array(config.acc_lanes)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        timing = compute_timing(self._config)
        stages = timing.reduced - timing.operands
        m.submodules.gemm_pipe = pipe = ControlPipe()
        pipe.add("valid", self.valid, resettable=True)
        pipe.add("first", self.first)
        for row in range(self._config.gemm.batch):
            for channel in range(self._config.gemm.block_out):
                dot = DotProduct(self._config)
                m.submodules[f"dot{row}_{channel}"] = dot
                lane = row * self._config.gemm.block_out + channel
                m.d.comb += [
                    dot.a.eq(self._operand_a(row, lane)),
                    dot.w.eq(self.w[channel]),
                    dot.en.eq(Cat(pipe.at("valid", i) for i in range(stages))),
                    dot.first.eq(pipe.at("first", stages - 1)),
                    self.x[lane].eq(dot.x),
                ]
        return m

    def _operand_a(self, row: int, lane: int) -> Value:
        """Return what a lane multiplies its channel's weights with."""
        a = self.a[row].as_value()
        return Mux(self.windowed, self.windows[lane].as_value(), a) if self._config.depthwise.enabled else a
