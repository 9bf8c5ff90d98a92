"""The requantizer: from a sum to int8 by a fixed-point scale."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated
from tilewright.hw.rounding_shift import SHIFT_BITS, RoundingShift
from tilewright.hw.timing import REQUANTIZE_CYCLES
from tilewright.isa.config import Config

#: The sum is multiplied in two parts, so that a product fits a DSP block.
LOW_BITS = 16


class Requantizer(Repeated):
    """`saturate(round(x * multiplier / 2**shift) + zero_out)` in `timing.REQUANTIZE_CYCLES`; one lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    x : In(signed(acc_bits))
    multiplier : In(multiplier_bits)
    shift : In(6)
    zero : In(signed(8))
        Four cycles after `x`.
    en : In(REQUANTIZE_CYCLES)
        Which registers take new values.
    y : Out(signed(8))
    """

    def __init__(self, config: Config):
        self._acc_bits = config.gemm.acc_bits
        self._multiplier_bits = config.epilogue.multiplier_bits
        super().__init__(
            {
                "x": In(signed(self._acc_bits)),
                "multiplier": In(self._multiplier_bits),
                "shift": In(SHIFT_BITS),
                "zero": In(signed(8)),
                "en": In(REQUANTIZE_CYCLES),
                "y": Out(signed(8)),
            }
        )

    @property
    def kind(self):
        return self._acc_bits, self._multiplier_bits

    def elaborate_one(self, platform):
        m = Module()
        width = self._acc_bits + self._multiplier_bits
        m.submodules.shifter = shifter = RoundingShift(width)

        low = Signal(LOW_BITS + self._multiplier_bits, reset_less=True)
        high = Signal(signed(width - LOW_BITS), reset_less=True)
        shift = Signal(SHIFT_BITS, reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [
                low.eq(self.x[:LOW_BITS] * self.multiplier),
                high.eq(self.x[LOW_BITS:].as_signed() * self.multiplier),
                shift.eq(self.shift),
            ]

        product = Signal(signed(width), reset_less=True)
        late_shift = Signal(SHIFT_BITS, reset_less=True)
        with m.If(self.en[1]):
            m.d.sync += [product.eq(Cat(Const(0, LOW_BITS), high).as_signed() + low), late_shift.eq(shift)]

        m.d.comb += [
            shifter.value.eq(product),
            shifter.shift.eq(late_shift),
            shifter.zero.eq(self.zero),
            shifter.en.eq(self.en[2:]),
            self.y.eq(shifter.y),
        ]
        return m
