"""The multiply-accumulate array."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Module, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.dot_product import DotProduct, delayed
from tilewright.hw.packed_dot_product import PackedDotProduct
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.timing import compute_timing
from tilewright.isa.config import Config


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
        With the depthwise mode .array(batch * block_out): each lane has its own.
    w : In(block_in int8).array(block_out)
    x : Out(signed(acc_bits)).array(batch * block_out)
        Sums so far, batch-major; with `gemm.packed` their negatives.
    """

    def __init__(self, config: Config):
        self._config = config
        operand = data.ArrayLayout(8, config.gemm.block_in)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "a": In(operand).array(config.acc_lanes if config.depthwise.enabled else config.gemm.batch),
                "w": In(operand).array(config.gemm.block_out),
                "x": Out(signed(config.gemm.acc_bits)).array(config.acc_lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = compute_timing(self._config)
        stages = timing.reduced - timing.operands
        m.submodules.gemm_pipe = pipe = ControlPipe()
        pipe.add("valid", self.valid, resettable=True)
        pipe.add("first", self.first)
        en = Cat(pipe.at("valid", i) for i in range(stages))
        first = pipe.at("first", stages - 1)
        for row in range(self._config.gemm.batch):
            if self._config.gemm.packed:
                self._elaborate_pairs(m, row, en, first)
            else:
                self._elaborate_lanes(m, row, en, first)
        return m

    def _elaborate_lanes(self, m: Module, row: int, en: Value, first: Value) -> None:
        """Give a dot product to each lane of a row."""
        common = None if self._config.depthwise.enabled else self._chained(m, f"a{row}", self.a[row], en)
        for channel in range(self._config.gemm.block_out):
            lane = row * self._config.gemm.block_out + channel
            m.submodules[f"dot{row}_{channel}"] = dot = DotProduct(self._config)
            m.d.comb += [
                dot.a.eq(Cat(common or self._chained(m, f"a{lane}", self.a[lane], en))),
                dot.w.eq(self.w[channel]),
                dot.en.eq(en),
                dot.first.eq(first),
                self.x[lane].eq(dot.x),
            ]

    def _elaborate_pairs(self, m: Module, row: int, en: Value, first: Value) -> None:
        """Give two neighbouring lanes of a row one row of multipliers."""
        negated = [(-a.as_signed())[:9] for a in self.a[row]]
        common = self._chained(m, f"negated{row}", negated, en)
        for channel in range(0, self._config.gemm.block_out, 2):
            m.submodules[f"pair{row}_{channel}"] = pair = PackedDotProduct(self._config)
            m.d.comb += [pair.negated.eq(Cat(common)), pair.en.eq(en), pair.first.eq(first)]
            for i in range(2):
                lane = row * self._config.gemm.block_out + channel + i
                m.d.comb += [pair.w[i].eq(self.w[channel + i]), self.x[lane].eq(pair.negative[i])]

    def _chained(self, m: Module, name: str, values: Iterable[Value], en: Value) -> list[Value]:
        """Delay operands by their places in their chains."""
        length = self._config.gemm.cascade
        return [delayed(m, f"{name}_{k}", value, k % length, en) for k, value in enumerate(values)]
