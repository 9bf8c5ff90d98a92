"""A lane of the row unit: scaled operands, squares, powers of two, normalised values."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib.wiring import In, Out

from tilewright.hw.interpolation import Line
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import ROW_FACTOR_CYCLES, ROW_LANE_CYCLES
from tilewright.isa.row_ops import (
    DEVIATION_FRACTION,
    EXP_BASE,
    EXP_FRACTION,
    EXP_STEP,
    LOG_FRACTION,
    MANTISSA_FRACTION,
    MEAN_FRACTION,
    SCALE_BITS,
)

MANTISSA = Line(EXP_BASE, EXP_STEP, falls=True)

#: Bits of a deviation; of its square, unsigned; of the result of `exp2n`; of the shift of a normalised value.
DEVIATION_BITS = 17
SQUARE_BITS = 30
POWER_BITS = EXP_FRACTION + 1
SHIFT_BITS = 5

#: Bits that a deviation loses before it is squared.
DROPPED_BITS = MEAN_FRACTION - DEVIATION_FRACTION

_FIRST = ROW_FACTOR_CYCLES + 1  # the first register's cycle, after the operands
_PRODUCT, _POWER = ROW_LANE_CYCLES["square_sum"], ROW_LANE_CYCLES["exp_sum"]
_STAGES = _POWER - ROW_FACTOR_CYCLES
_WHOLE_BITS = EXP_FRACTION.bit_length()


class RowLane(Repeated):
    """One multiplier, one interpolation; every operation takes its result where it is ready.

    Cycles are those of `timing.ROW_LANE_CYCLES`, after the row unit's operands.

    Members
    -------
    a : In(signed(8))
        At `ROW_FACTOR_CYCLES`, as all inputs but the next two.
    mean : In(signed(17))
        The mean; half of the squares' rounding below it for `square_sum`.
    factor : In(20)
        What is multiplied: `scale`, or the mantissa of a reciprocal standard deviation.
    squares, deviates : In(1)
        Multiply the deviation with itself; multiply the deviation instead of `a`.
    exponent : In(signed(32))
        What the product is subtracted from, in the cycle of the product.
    shift : In(5)
        Of `normal`, in the cycle of the product.
    en : In(stages)
        Which registers take new values.
    passed : Out(signed(8))
        Operand `a`, for `max` and `sum`.
    square : Out(30)
    normal : Out(signed(32))
    power : Out(24)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "a": In(signed(8)),
                "mean": In(signed(DEVIATION_BITS)),
                "factor": In(SCALE_BITS),
                "squares": In(1),
                "deviates": In(1),
                "exponent": In(signed(32)),
                "shift": In(SHIFT_BITS),
                "en": In(_STAGES),
                "passed": Out(signed(8)),
                "square": Out(SQUARE_BITS),
                "normal": Out(signed(32)),
                "power": Out(POWER_BITS),
            }
        )

    @property
    def kind(self):
        return ()

    def elaborate_one(self, platform):
        m = Module()

        def registered(name: str, value: Value, cycle: int) -> Value:
            register = Signal(value.shape(), name=name, reset_less=True)
            with m.If(self.en[cycle - _FIRST]):
                m.d.sync += register.eq(value)
            return register

        deviation = Signal(signed(DEVIATION_BITS))
        m.d.comb += deviation.eq(Cat(Const(0, MEAN_FRACTION), self.a).as_signed() - self.mean)
        short = deviation >> DROPPED_BITS
        x = registered("x", Mux(self.squares, short, Mux(self.deviates, deviation, self.a)), _FIRST)
        y = registered("y", Mux(self.squares, short, self.factor), _FIRST)
        product = registered("product", x * y, _PRODUCT)
        m.d.comb += [self.passed.eq(x), self.square.eq(product)]
        m.d.comb += self.normal.eq(registered("normal", product >> self.shift, _PRODUCT + 1))

        exponent = registered("exponent_left", self.exponent - product, _PRODUCT + 1)
        positive = Mux(exponent[-1], 0, exponent)
        whole = positive[LOG_FRACTION:]
        mantissa = MANTISSA.elaborate(m, "mantissa", positive[:LOG_FRACTION], _PRODUCT + 2, registered)
        vanishes, places = whole > EXP_FRACTION, whole[:_WHOLE_BITS]
        for cycle in range(_PRODUCT + 2, _POWER):
            vanishes = registered(f"vanishes{cycle}", vanishes, cycle)
            places = registered(f"places{cycle}", places, cycle)
        mantissa = registered("mantissa", mantissa, _POWER - 1)
        aligned = Cat(Const(0, EXP_FRACTION - MANTISSA_FRACTION), mantissa)
        power = Mux(vanishes, Const(0, unsigned(POWER_BITS)), aligned >> places)
        m.d.comb += self.power.eq(registered("power", power, _POWER))
        return m
