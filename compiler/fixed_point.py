"""Real scale factors as integers: a multiplier and a right shift.

A positive real factor `r` becomes `multiplier * 2**-shift` with the multiplier in `[2**(bits - 1), 2**bits)`, so
its relative error is at most `2**-bits`: with 16 bits, a result of 255 steps is off by less than 1/256 of a step
before it is rounded. Two factors do not fit that form:

- `r >= 2**bits`: the largest multiplier with shift 0. Any accumulator but 0 saturates an int8 either way.
- `r < 2**(bits - 1 - MAX_SHIFT)`: shift MAX_SHIFT and a smaller multiplier, whose absolute error of at most
  `2**-(MAX_SHIFT + 1)` moves the result for any int32 accumulator by less than `2**-16` of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tilewright.isa.errors import ModelError

MAX_SHIFT = 47
MIN_BITS = 8
MAX_BITS = 24


@dataclass(frozen=True)
class FixedPoint:
    """The factor `multiplier * 2**-shift`."""

    multiplier: int
    shift: int

    @property
    def value(self) -> float:
        """The real factor that this stands for."""
        return math.ldexp(self.multiplier, -self.shift)


def to_fixed_point(factor: float, bits: int = 16) -> FixedPoint:
    """Find the nearest multiplier and shift of a factor.

    Parameters
    ----------
    factor
        Finite and at least 0.
    bits
        Width of the multiplier, 8 to 24.
    """
    _check(factor, bits)
    shift = _shift_for(factor, bits)
    return FixedPoint(_rounded(factor, shift, bits), shift)


def to_shared_fixed_point(factor_a: float, factor_b: float, bits: int = 16) -> tuple[int, int, int]:
    """Find two multipliers that share one shift, `(multiplier_a, multiplier_b, shift)`.

    The larger factor has full precision. The smaller one's absolute error is at most `2**-(shift + 1)`, which is
    what the larger one's is bounded by as well.
    """
    _check(factor_a, bits)
    _check(factor_b, bits)
    shift = _shift_for(max(factor_a, factor_b), bits)
    return _rounded(factor_a, shift, bits), _rounded(factor_b, shift, bits), shift


def _shift_for(factor: float, bits: int) -> int:
    """The shift that puts the rounded multiplier into `[2**(bits - 1), 2**bits)`, within `0..MAX_SHIFT`."""
    if factor == 0:
        return 0
    _, exponent = math.frexp(factor)  # factor = m * 2**exponent, m in [0.5, 1)
    shift = bits - exponent
    if shift <= MAX_SHIFT and _round_half_up(math.ldexp(factor, shift)) >= 1 << bits:
        shift -= 1
    return min(max(shift, 0), MAX_SHIFT)


def _rounded(factor: float, shift: int, bits: int) -> int:
    largest = (1 << bits) - 1
    scaled = math.ldexp(factor, shift)
    return largest if scaled >= largest else _round_half_up(scaled)


def _round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _check(factor: float, bits: int) -> None:
    if not (math.isfinite(factor) and factor >= 0):
        raise ModelError(f"a scale factor must be finite and not negative, not {factor}")
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"multiplier bits must be in {MIN_BITS}..{MAX_BITS}, not {bits}")
