"""Right shift with rounding, zero point and saturation: the end of every fixed-point scale."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated
from tilewright.isa.parameter_record import SHIFT

#: Bits that the fine shift works on. What a coarse shift leaves beyond them saturates after any fine shift: less than
#: 256 in magnitude, a bit that rounds, and seven that are shifted out.
FINE_BITS = 17
FINE_SHIFT_BITS = 3
SHIFT_BITS = SHIFT.bits

#: The longest coarse shift, in bytes.
_LONGEST = 7


class RoundingShift(Repeated):
    """`saturate(round_half_up(value / 2**shift) + zero)` to int8 in four cycles.

    The value is doubled, shifted coarsely (by multiples of 8) and finely (by up to 7), so that its lowest bit is the
    one that rounds; adding one, twice the zero point, and dropping that bit is the sum. What does not fit into
    `FINE_BITS` after the coarse shift is beyond int8 whatever follows. A shift of 63 gives -1 for any value, since the
    ISA's half, `(1 << 63) >> 1` in 64 bits, is negative.

    Parameters
    ----------
    width : int
        Bits of the value, at most 56.

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
        doubled = Signal(signed(max(self._width + 1, FINE_BITS)))
        m.d.comb += doubled.eq(Cat(Const(0, 1), self.value).as_signed())
        sign, coarse_shift = doubled[-1], self.shift[FINE_SHIFT_BITS:]
        coarse = Signal(signed(FINE_BITS), reset_less=True)
        fine_shift = Signal(FINE_SHIFT_BITS, reset_less=True)
        overflows, is_negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [
                coarse.eq(Array(self._shifted(doubled))[coarse_shift]),
                fine_shift.eq(self.shift[:FINE_SHIFT_BITS]),
                overflows.eq(Array(self._overflows(doubled))[coarse_shift]),
                is_negative.eq(sign),
            ]

        fine = Signal(signed(FINE_BITS), reset_less=True)
        beyond, negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[1]):
            m.d.sync += [fine.eq(coarse >> fine_shift), beyond.eq(overflows), negative.eq(is_negative)]

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

    def _shifted(self, doubled: Value) -> list[Value]:
        """Return the lowest bits after each coarse shift.

        The longest leaves nothing but signs; before the longest fine shift it gives what that makes a -2.
        """
        shifted = [(doubled >> 8 * i)[:FINE_BITS] for i in range(_LONGEST)]
        is_longest = self.shift[:FINE_SHIFT_BITS].all()
        ones, zero = doubled[-1] | is_longest, doubled[-1] & ~is_longest
        return [*shifted, Cat(zero if i == _LONGEST else ones for i in range(FINE_BITS))]

    def _overflows(self, doubled: Value) -> list[Value]:
        """Tell for each coarse shift whether more than signs is left beyond the lowest bits."""
        first = FINE_BITS - 1
        differs = [doubled[i] ^ doubled[-1] for i in range(first, len(doubled) - 1)]
        groups = [Cat(differs[8 * i : 8 * i + 8]).any() for i in range(_LONGEST + 1)]
        return [Cat(groups[i:]).any() for i in range(_LONGEST + 1)]
