"""The end of a row's reduction: from its sum or maximum to the result."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from tilewright.hw.interpolation import Line
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import ROW_FINISH_CYCLES
from tilewright.isa.row_ops import (
    DEVIATION_FRACTION,
    EXP_FRACTION,
    HALF_BITS,
    LOG_BASE,
    LOG_FRACTION,
    LOG_STEP,
    OFFSET_BITS,
    SCALE_BITS,
    SCALED_BITS,
    SCALED_SHIFT_BITS,
    SPREAD_FRACTION,
    SUM_BITS,
)

LOGARITHM = Line(LOG_BASE, LOG_STEP, falls=False)


class RowFinish(Repeated):
    """`ROW_FINISH_CYCLES` cycles; one result each.

    Members
    -------
    total : In(SUM_BITS)
    largest : In(signed(8))
    takes_largest, adds_offset : In(1)
        Scale the largest instead of the sum; add `offset` to the sum before its logarithm.
    scale : In(SCALE_BITS)
        Stays.
    offset : In(OFFSET_BITS)
        Stays.
    b : In(signed(32))
        Two cycles before the result.
    late_b : In(HALF_BITS)
        Its low half, a cycle later, as the next two.
    is_exp_sum, is_square_sum : In(1)
    result : Out(signed(32))
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "total": In(SUM_BITS),
                "largest": In(signed(8)),
                "takes_largest": In(1),
                "adds_offset": In(1),
                "scale": In(SCALE_BITS),
                "offset": In(OFFSET_BITS),
                "is_exp_sum": In(1),
                "is_square_sum": In(1),
                "b": In(signed(32)),
                "late_b": In(HALF_BITS),
                "result": Out(signed(32)),
            }
        )

    @property
    def kind(self):
        return ()

    def elaborate_one(self, platform):
        m = Module()
        scaled, logarithm = self._scaled(m), self._logarithm(m)
        moved = Signal(signed(32), reset_less=True)
        spread = Signal(signed(LOG_FRACTION + 8), reset_less=True)
        m.d.sync += [
            moved.eq(self.b + logarithm - (EXP_FRACTION << LOG_FRACTION)),
            spread.eq(logarithm - self.scale - (2 * DEVIATION_FRACTION << LOG_FRACTION)),
        ]
        drop = LOG_FRACTION + 1 - SPREAD_FRACTION
        rounded, half = (spread + (1 << (drop - 1))) >> drop, 1 << (HALF_BITS - 1)
        short = Mux(rounded >= half, half - 1, Mux(rounded < -half, -half, rounded))[:HALF_BITS]
        result = Signal(signed(32), reset_less=True)
        m.d.sync += result.eq(Mux(self.is_square_sum, Cat(short, self.late_b), Mux(self.is_exp_sum, moved, scaled)))
        m.d.comb += self.result.eq(result)
        return m

    def _scaled(self, m: Module) -> Value:
        """Multiply by `scale` and shift right with rounding; doubled before, so that the lowest bit rounds."""
        value = Mux(self.takes_largest, self.largest, self.total[:SCALED_BITS].as_signed())
        product = Signal(signed(SCALED_BITS + SCALE_BITS + 1), reset_less=True)
        doubled = Signal(signed(len(product) + 1), reset_less=True)
        rounded = Signal(signed(32), reset_less=True)
        m.d.sync += [
            product.eq(value * self.scale),
            doubled.eq((product << 1) >> self.offset[:SCALED_SHIFT_BITS]),
            rounded.eq((doubled + 1) >> 1),
        ]
        delayed: Value = rounded
        for cycle in range(4, ROW_FINISH_CYCLES):
            register = Signal(signed(32), name=f"scaled{cycle}", reset_less=True)
            m.d.sync += register.eq(delayed)
            delayed = register
        return delayed

    def _logarithm(self, m: Module) -> Value:
        """Give the binary logarithm of the sum six cycles later: highest one, fraction, interpolation."""
        value, aligned = Signal(SUM_BITS, reset_less=True), Signal(SUM_BITS, reset_less=True)
        m.d.sync += [value.eq(self.total + Mux(self.adds_offset, self.offset, 0)), aligned.eq(value)]
        place = Signal(range(SUM_BITS))
        for bit in range(1, SUM_BITS):
            with m.If(value[bit]):
                m.d.comb += place.eq(bit)

        def registered(name: str, source: Value, cycle: int) -> Value:
            register = Signal(source.shape(), name=name, reset_less=True)
            m.d.sync += register.eq(source)
            return register

        places: list[Value] = [place]
        for cycle in range(2, 6):
            places.append(registered(f"place{cycle}", places[-1], cycle))
        shifted = (aligned << (SUM_BITS - 1 - places[1]).as_unsigned()[: len(place)])[:SUM_BITS]
        fraction = registered("fraction", shifted[SUM_BITS - 1 - LOG_FRACTION : SUM_BITS - 1], 3)
        point = LOGARITHM.elaborate(m, "log", fraction, 4, registered)
        logarithm = Signal(LOG_FRACTION + len(place) + 1, reset_less=True)
        m.d.sync += logarithm.eq(point + (places[4] << LOG_FRACTION))
        return logarithm
