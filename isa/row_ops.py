"""The row operations: what softmax and normalisation are made of, each one's meaning an expression.

A row is all channels of one position. Everything is in integers: powers and logarithms of two come from short tables
with straight lines between their entries.

To add one: an entry here, and its expression in hardware in `tilewright.hw.row_lane` or `tilewright.hw.row_finish`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tilewright.isa.ir import Binary, BinaryOp, Const, DType, Expr, Lookup, Select, Table, Var, variable_names

#: The operands of an operation's expressions, 64-bit integers.
A = Var("a")
B = Var("b")
SUM = Var("sum")
PLACE = Var("place")
SCALE = Var("scale")
OFFSET = Var("offset")

SCALE_BITS = 20
OFFSET_BITS = 32

#: Width of a reduced row; sums wrap.
SUM_BITS = 44

#: Fraction bits of the exponents of `exp2n` and of the result of `log2p`.
LOG_FRACTION = 16

#: Fraction bits of the result of `exp2n`.
EXP_FRACTION = 23

#: Fraction bits of a mantissa, the part of `exp2n` that its table gives.
MANTISSA_FRACTION = 15

#: Fraction bits: of a mean; of a deviation from it when it is squared; of the logarithm of a standard deviation.
MEAN_FRACTION = 8
DEVIATION_FRACTION = 6
SPREAD_FRACTION = 12

#: Fraction bits of the result of `normalise`.
NORMAL_FRACTION = 14

#: Bits of a mean and of the logarithm of a standard deviation, which share one entry.
HALF_BITS = 16

#: Bits of a sum that can be scaled, and of the shift then.
SCALED_BITS = 24
SCALED_SHIFT_BITS = 5

_EXP_SEGMENT_BITS = 5
_LOG_SEGMENT_BITS = 6


def _samples(function: Callable[[float], float], segment_bits: int) -> list[int]:
    return [round(function(i / (1 << segment_bits))) for i in range((1 << segment_bits) + 1)]


def _tables(name: str, samples: list[int]) -> tuple[Table, Table]:
    """Return the samples but the last, and the distances from each to the next."""
    steps = tuple(abs(after - before) for before, after in pairwise(samples))
    return Table(f"{name}_base", DType.I64, tuple(samples[:-1])), Table(f"{name}_step", DType.I64, steps)


#: `2**-f` for f in [0, 1), falling, and `log2(1 + f)`, rising.
EXP_BASE, EXP_STEP = _tables("exp2", _samples(lambda f: 2 ** (MANTISSA_FRACTION - f), _EXP_SEGMENT_BITS))
LOG_BASE, LOG_STEP = _tables("log2", _samples(lambda f: math.log2(1 + f) * 2**LOG_FRACTION, _LOG_SEGMENT_BITS))


def rounding_shift(value: Expr, shift: Expr) -> Expr:
    """`value / 2**shift`, rounded half up; 64 bits."""
    half = (Const(1, DType.I64) << shift) >> 1
    return (value + half) >> shift


def low_bits(value: Expr, bits: int) -> Expr:
    """Return the lowest bits of a 64-bit value, as a signed number."""
    return (value << (64 - bits)) >> (64 - bits)


def _line(base: Table, step: Table, fraction: Expr, *, falls: bool) -> Expr:
    """Return the point of a table's broken line at a fraction of `LOG_FRACTION` bits."""
    rest_bits = LOG_FRACTION - (len(base.values).bit_length() - 1)
    segment, rest = fraction >> rest_bits, fraction & ((1 << rest_bits) - 1)
    distance = (Lookup(step, segment) * rest + (1 << (rest_bits - 1))) >> rest_bits
    start = Lookup(base, segment)
    return start - distance if falls else start + distance


def mantissa(fraction: Expr) -> Expr:
    """`2**-f` of a fraction with `LOG_FRACTION` bits, with `MANTISSA_FRACTION` bits: 16384..32768."""
    return _line(EXP_BASE, EXP_STEP, fraction, falls=True)


def exp2n(exponent: Expr) -> Expr:
    """`2**-t` for t >= 0 with `LOG_FRACTION` bits, with `EXP_FRACTION` bits: 0..2**23."""
    whole, fraction = exponent >> LOG_FRACTION, exponent & ((1 << LOG_FRACTION) - 1)
    shifted = (mantissa(fraction) << (EXP_FRACTION - MANTISSA_FRACTION)) >> whole
    return Select(whole <= EXP_FRACTION, shifted, Const(0, DType.I64))


def log2p(value: Expr, place: Expr) -> Expr:
    """`log2(v)` of a positive v below `2**SUM_BITS`, with `LOG_FRACTION` bits; 0 for v = 0.

    `place` is the position of its highest one, 0 for v = 0.
    """
    aligned = value << (Const(SUM_BITS - 1, DType.I64) - place)
    fraction = (aligned >> (SUM_BITS - 1 - LOG_FRACTION)) & ((1 << LOG_FRACTION) - 1)
    return (place << LOG_FRACTION) + _line(LOG_BASE, LOG_STEP, fraction, falls=False)


def _deviation(mean: Expr) -> Expr:
    return (A << MEAN_FRACTION) - mean


def _squared_deviation() -> Expr:
    drop = MEAN_FRACTION - DEVIATION_FRACTION
    rounded = (_deviation(low_bits(B, HALF_BITS)) + (1 << (drop - 1))) >> drop
    return Binary(BinaryOp.MUL, rounded, rounded)


def _normalised() -> Expr:
    """`(a - mean) / 2**spread` of an entry that holds both."""
    mean, spread = B >> HALF_BITS, low_bits(B, HALF_BITS)
    fraction = (spread & ((1 << SPREAD_FRACTION) - 1)) << (LOG_FRACTION - SPREAD_FRACTION)
    shift = (spread >> SPREAD_FRACTION) + (MEAN_FRACTION + MANTISSA_FRACTION - NORMAL_FRACTION)
    return (_deviation(mean) * mantissa(fraction)) >> shift


def _spread() -> Expr:
    """Return the mean and half the logarithm of the mean square, in one entry."""
    variance_log = log2p(SUM, PLACE) - SCALE - (2 * DEVIATION_FRACTION << LOG_FRACTION)
    half = 1 << (HALF_BITS - 1)
    spread = rounding_shift(variance_log, Const(LOG_FRACTION + 1 - SPREAD_FRACTION, DType.I64))
    return (B << HALF_BITS) | (spread.maximum(-half).minimum(half - 1) & (2 * half - 1))


_SCALED = rounding_shift(low_bits(SUM, SCALED_BITS) * SCALE, OFFSET & ((1 << SCALED_SHIFT_BITS) - 1))
_EXPONENTIAL = exp2n((B - A * SCALE).maximum(0))


@dataclass(frozen=True)
class RowOp:
    """One operation on rows.

    Attributes
    ----------
    name : str
    code : int
        Its number in the `op` field.
    combine : Expr
        What one channel contributes, or becomes, in terms of `A` (from `act`), `B` (the row's entry in `acc`) and
        `SCALE`.
    doc : str
    reduce : str
        How channels and steps are combined, `add` or `max`; empty: they are not, every channel has a result.
    finish : Expr
        For reductions: the result, in terms of `SUM`, `B`, `SCALE`, `OFFSET` and `PLACE`, the position of the highest
        one of `SUM`.
    adds_offset : bool
        For reductions: `OFFSET` is added to the sum before `finish`.
    """

    name: str
    code: int
    combine: Expr
    doc: str
    reduce: str = ""
    finish: Expr = SUM
    adds_offset: bool = False

    @property
    def uses_b(self) -> bool:
        """Whether the operation reads operand `b`."""
        return B.name in variable_names(self.combine) | (variable_names(self.finish) if self.reduce else frozenset())


ROW_OPS: tuple[RowOp, ...] = (
    RowOp("max", 0, A, "largest a, scaled", "max", _SCALED),
    RowOp("sum", 1, A, "sum of a, scaled; as a mean it has 8 fraction bits", "add", _SCALED),
    RowOp(
        "exp_sum", 2, _EXPONENTIAL,
        "b plus the logarithm of the sum of 2**-(b - a * scale), all with 16 fraction bits",
        "add", B + log2p(SUM, PLACE) - (EXP_FRACTION << LOG_FRACTION),
    ),
    RowOp(
        "square_sum", 3, _squared_deviation(),
        "in the high half b, a mean with 8 fraction bits; in the low half, with 12 fraction bits, the logarithm of the "
        "standard deviation from it. `scale` is the logarithm of the number of channels with 16 fraction bits; "
        "`offset` is added to the sum of squares, which has 12 fraction bits",
        "add", _spread(), adds_offset=True,
    ),
    RowOp("exp", 4, _EXPONENTIAL, "2**-(b - a * scale), at most 1, with 23 fraction bits"),
    RowOp(
        "normalise", 5, _normalised(),
        "deviation of a over standard deviation, both of b from square_sum, with 14 fraction bits",
    ),
)  # fmt: skip
