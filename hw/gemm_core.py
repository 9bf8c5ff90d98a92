"""The multiply-accumulate array."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Value, signed
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
    w : In(block_in int8).array(block_out)
    x : Out(signed(acc_bits)).array(batch * block_out)
        Sums so far, batch-major; with `gemm.packed` their negatives.
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
        windowed = self._config.depthwise.enabled
        common = None if windowed else self._chained(m, f"a{row}", [self.a[row][k] for k in self._operands], en)
        for channel in range(self._config.gemm.block_out):
            lane = row * self._config.gemm.block_out + channel
            m.submodules[f"dot{row}_{channel}"] = dot = DotProduct(self._config)
            m.d.comb += [
                dot.a.eq(Cat(common or self._windowed(m, row, lane, en))),
                dot.w.eq(self.w[channel]),
                dot.en.eq(en),
                dot.first.eq(first),
                self.x[lane].eq(dot.x),
            ]

    def _elaborate_pairs(self, m: Module, row: int, en: Value, first: Value) -> None:
        """Give two neighbouring lanes of a row one row of multipliers."""
        negated = [(-self.a[row][k].as_signed())[:9] for k in self._operands]
        common = self._chained(m, f"negated{row}", negated, en)
        for channel in range(0, self._config.gemm.block_out, 2):
            m.submodules[f"pair{row}_{channel}"] = pair = PackedDotProduct(self._config)
            m.d.comb += [pair.negated.eq(Cat(common)), pair.en.eq(en), pair.first.eq(first)]
            for i in range(2):
                lane = row * self._config.gemm.block_out + channel + i
                m.d.comb += [pair.w[i].eq(self.w[channel + i]), self.x[lane].eq(pair.negative[i])]

    def _chained(self, m: Module, name: str, values: list[Value], en: Value) -> list[Value]:
        """Delay operands by their places in their chains."""
        length = self._config.gemm.cascade
        return [delayed(m, f"{name}_{k}", value, k % length, en) for k, value in enumerate(values)]

    def _windowed(self, m: Module, row: int, lane: int, en: Value) -> list[Value]:
        """Return what a lane multiplies its channel's weights with: its window, or what its row has in common."""
        operands = [Mux(self.windowed, self.windows[lane][k], self.a[row][k]) for k in self._operands]
        return self._chained(m, f"a{lane}", operands, en)

    @property
    def _operands(self) -> range:
        return range(self._config.gemm.block_in)
