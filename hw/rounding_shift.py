"""Right shift with rounding, zero point and saturation: the end of every fixed-point scale."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated

#: Bits that the fine shift works on. What a coarse shift leaves beyond them saturates after any fine shift.
FINE_BITS = 18
FINE_SHIFT_BITS = 3
SHIFT_BITS = 6


class RoundingShift(Repeated):
    """`saturate(round_half_up(value / 2**shift) + zero)` to int8 in four cycles.

    The value is doubled, shifted coarsely (by multiples of 8) and finely (by up to 7), so that its lowest bit is the
    one that rounds; adding one, twice the zero point, and dropping that bit is the sum. What does not fit into 18 bits
    after the coarse shift is beyond int8 whatever follows. A shift of 63 gives -1 for any value, since the ISA's half,
    `(1 << 63) >> 1` in 64 bits, is negative.

    Parameters
    ----------
    width : int
        Bits of the value.

    Members
    -------
    value : In(signed(width))
    shift : In(6)
    zero : In(signed(8))
        Two cycles after `value`.
    en : In(4)
        Which registers take new values.
    y : Out(signed(8))
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "value": In(signed(width)),
                "shift": In(SHIFT_BITS),
                "zero": In(signed(8)),
                "en": In(4),
                "y": Out(signed(8)),
            }
        )

    @property
    def kind(self):
        return (self._width,)

    def elaborate_one(self, platform):
        m = Module()
        coarse = Signal(signed(max(self._width + 1, FINE_BITS)), reset_less=True)
        fine_shift = Signal(FINE_SHIFT_BITS, reset_less=True)
        doubled = Cat(Const(0, 1), self.value).as_signed()
        by_bytes = Cat(Const(0, FINE_SHIFT_BITS), self.shift[FINE_SHIFT_BITS:])
        is_longest = Signal(reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [
                coarse.eq(doubled >> by_bytes),
                fine_shift.eq(self.shift[:FINE_SHIFT_BITS]),
                is_longest.eq(self.shift.all()),
            ]

        fine = Signal(signed(FINE_BITS), reset_less=True)
        beyond, negative = Signal(reset_less=True), Signal(reset_less=True)
        spare = coarse[FINE_BITS - 1 :]
        with m.If(self.en[1]):
            m.d.sync += [
                fine.eq(Mux(is_longest, -2, coarse[:FINE_BITS].as_signed() >> fine_shift)),
                beyond.eq(spare.any() & ~spare.all()),
                negative.eq(coarse[-1]),
            ]

        total = Signal(signed(FINE_BITS + 1), reset_less=True)
        total_beyond, total_negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[2]):
            m.d.sync += [
                total.eq(fine + Cat(Const(1, 1), self.zero).as_signed()),
                total_beyond.eq(beyond),
                total_negative.eq(Mux(beyond, negative, fine[-1])),
            ]

        rounded = total[1:].as_signed()
        y = Signal(signed(8), reset_less=True)
        with m.If(self.en[3]):
            with m.If(total_beyond):
                m.d.sync += y.eq(Mux(total_negative, -128, 127))
            with m.Elif(rounded > 127):
                m.d.sync += y.eq(127)
            with m.Elif(rounded < -128):
                m.d.sync += y.eq(-128)
            with m.Else():
                m.d.sync += y.eq(rounded)
        m.d.comb += self.y.eq(y)
        return m
