"""The residual adder: two int8 operands, each with its own scale, added."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated
from tilewright.hw.rounding_shift import SHIFT_BITS, RoundingShift
from tilewright.hw.timing import RESIDUAL_CYCLES
from tilewright.isa.config import Config


class ResidualAdder(Repeated):
    """`saturate(round(((y - zero_a) * ma + (b - zero_b) * mb) / 2**shift) + zero_out)` in `RESIDUAL_CYCLES`; one lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    y, b, zero_a, zero_b : In(signed(8))
    multiplier_a, multiplier_b : In(multiplier_bits)
        One cycle after `y`.
    shift : In(6)
        Three cycles after `y`.
    zero_out : In(signed(8))
        Five cycles after `y`.
    en : In(RESIDUAL_CYCLES)
        Which registers take new values.
    result : Out(signed(8))
    """

    def __init__(self, config: Config):
        self._multiplier_bits = config.epilogue.multiplier_bits
        super().__init__(
            {
                "y": In(signed(8)),
                "b": In(signed(8)),
                "zero_a": In(signed(8)),
                "zero_b": In(signed(8)),
                "multiplier_a": In(self._multiplier_bits),
                "multiplier_b": In(self._multiplier_bits),
                "shift": In(SHIFT_BITS),
                "zero_out": In(signed(8)),
                "en": In(RESIDUAL_CYCLES),
                "result": Out(signed(8)),
            }
        )

    @property
    def kind(self):
        return (self._multiplier_bits,)

    def elaborate_one(self, platform):
        m = Module()
        product_bits = 9 + self._multiplier_bits
        m.submodules.shifter = shifter = RoundingShift(product_bits + 1)

        from_a, from_b = Signal(signed(9), reset_less=True), Signal(signed(9), reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [from_a.eq(self.y - self.zero_a), from_b.eq(self.b - self.zero_b)]

        product_a = Signal(signed(product_bits), reset_less=True)
        product_b = Signal(signed(product_bits), reset_less=True)
        with m.If(self.en[1]):
            m.d.sync += [product_a.eq(from_a * self.multiplier_a), product_b.eq(from_b * self.multiplier_b)]

        total = Signal(signed(product_bits + 1), reset_less=True)
        with m.If(self.en[2]):
            m.d.sync += total.eq(product_a + product_b)

        m.d.comb += [
            shifter.value.eq(total),
            shifter.shift.eq(self.shift),
            shifter.zero.eq(self.zero_out),
            shifter.en.eq(self.en[3:]),
            self.result.eq(shifter.y),
        ]
        return m
