"""Right shift with rounding, zero point and saturation: the end of every fixed-point scale."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated
from tilewright.isa.parameter_record import SHIFT

#: The shift is done in digits of so many bits, the highest first: multiplexers of four are what lookup tables of six
#: inputs are good at.
_DIGIT_BITS = 2
_CHOICES = 2**_DIGIT_BITS

#: Bits that are left after the last digit: what does not fit saturates whatever the zero point is.
_LAST_BITS = 10

SHIFT_BITS = SHIFT.bits
_LONGEST = 2**SHIFT_BITS - 1


class RoundingShift(Repeated):
    """`saturate(round_half_up(value / 2**shift) + zero)` to int8 in four cycles.

    The value is doubled and shifted, so that its lowest bit is the one that rounds; adding one, twice the zero point,
    and dropping that bit is the sum. After each digit of the shift, only bits are kept that the following ones can
    bring into the last `_LAST_BITS`, and whether more than signs was dropped. A shift of 63 gives -1 for any value,
    since the ISA's half, `(1 << 63) >> 1` in 64 bits, is negative.

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
        digits = [self.shift[i : i + _DIGIT_BITS] for i in range(0, SHIFT_BITS, _DIGIT_BITS)]
        doubled = Signal(signed(max(self._width + 1, _kept_bits(2))))
        m.d.comb += doubled.eq(Cat(Const(0, 1), self.value).as_signed())
        coarse, overflows = _shifted(doubled, digits[2], 2)
        word = Signal(signed(_kept_bits(2)), reset_less=True)
        fine_shift = Signal(2 * _DIGIT_BITS, reset_less=True)
        word_beyond, is_negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [fine_shift.eq(Cat(*digits[:2])), word_beyond.eq(overflows), is_negative.eq(doubled[-1])]
            with m.If(self.shift == _LONGEST):  # what the other digits make a -2
                m.d.sync += word.eq(~(1 << _LONGEST % _CHOICES**2))
            with m.Else():
                m.d.sync += word.eq(coarse)

        middle, middle_overflows = _shifted(word, fine_shift[_DIGIT_BITS:], 1)
        last, last_overflows = _shifted(middle, fine_shift[:_DIGIT_BITS], 0)
        fine = Signal(signed(_LAST_BITS), reset_less=True)
        beyond, negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[1]):
            m.d.sync += [
                fine.eq(last),
                beyond.eq(word_beyond | middle_overflows | last_overflows),
                negative.eq(is_negative),
            ]

        total = Signal(signed(_LAST_BITS + 1), reset_less=True)
        total_beyond, total_negative = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.en[2]):
            m.d.sync += [
                total.eq(fine + Cat(Const(1, 1), self.zero).as_signed()),
                total_beyond.eq(beyond),
                total_negative.eq(negative),
            ]

        rounded = total[1:]
        sign = Mux(total_beyond, total_negative, rounded[-1])
        saturates = total_beyond | Cat(bit != rounded[-1] for bit in rounded[7:-1]).any()
        y = Signal(signed(8), reset_less=True)
        with m.If(self.en[3]):
            m.d.sync += y.eq(Cat(Mux(saturates, (~sign).replicate(7), rounded[:7]), sign))
        m.d.comb += self.y.eq(y)
        return m


def _kept_bits(digit: int) -> int:
    """Return the bits that are kept after a digit of the shift, the lowest being 0."""
    return _LAST_BITS + _CHOICES**digit - 1


def _shifted(value: Value, amount: Value, digit: int) -> tuple[Value, Value]:
    """Shift by a digit: return the bits that are kept, and whether more than signs was dropped."""
    bits, step = _kept_bits(digit), _CHOICES**digit
    differs = [bit != value[-1] for bit in value[bits - 1 : -1]]
    dropped = [Cat(differs[i * step :]).any() for i in range(_CHOICES)]
    kept = [(value >> i * step)[:bits].as_signed() for i in range(_CHOICES)]
    return Array(kept)[amount], Array(dropped)[amount]
