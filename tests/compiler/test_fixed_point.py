"""Scale factors as multiplier and shift."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.fixed_point import MAX_SHIFT, to_fixed_point, to_shared_fixed_point
from tilewright.isa.errors import ModelError


@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_error_bound(bits: int, rng: np.random.Generator) -> None:
    smallest = bits - 1 - MAX_SHIFT
    for factor in 2.0 ** rng.uniform(smallest, bits - 1, 500):
        fixed = to_fixed_point(factor, bits)
        assert 1 << (bits - 1) <= fixed.multiplier < 1 << bits
        assert 0 <= fixed.shift <= MAX_SHIFT
        assert abs(fixed.value - factor) <= factor * 2.0**-bits


def test_factor_that_rounds_up_to_a_power_of_two() -> None:
    fixed = to_fixed_point(np.nextafter(1.0, 0.0), 16)
    assert (fixed.multiplier, fixed.shift) == (1 << 15, 15)


@pytest.mark.parametrize("factor", [0.0, 1e-300, 2.0**-40, 1.5, 65535.0, 70000.0, 1e30])
def test_extremes(factor: float) -> None:
    """Whatever the factor, int8 results are those of exact arithmetic within the documented error."""
    fixed = to_fixed_point(factor, 16)
    assert 0 <= fixed.multiplier < 1 << 16
    for accumulator in (-(2**31), -1000, -1, 0, 1, 77, 2**31 - 1):
        exact = np.clip(accumulator * factor, -128, 127)
        ours = np.clip((accumulator * fixed.multiplier + ((1 << fixed.shift) >> 1)) >> fixed.shift, -128, 127)
        assert abs(ours - exact) <= 0.5 + 128 * 2.0**-16 + 2.0**-16


def test_shared_shift(rng: np.random.Generator) -> None:
    for a, b in 2.0 ** rng.uniform(-12, 12, (200, 2)):
        multiplier_a, multiplier_b, shift = to_shared_fixed_point(a, b, 16)
        assert 1 << 15 <= max(multiplier_a, multiplier_b) < 1 << 16
        for factor, multiplier in ((a, multiplier_a), (b, multiplier_b)):
            assert abs(multiplier * 2.0**-shift - factor) <= 2.0 ** -(shift + 1)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_factors_of_a_damaged_model_are_refused(factor: float) -> None:
    with pytest.raises(ModelError, match="must be finite and not negative"):
        to_fixed_point(factor, 16)


@pytest.mark.parametrize("bits", [7, 25])
def test_widths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        to_fixed_point(1.0, bits)
