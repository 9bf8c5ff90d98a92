"""The estimate's correction by synthesis results."""

from __future__ import annotations

import math

import pytest

from tilewright.isa.config import PRESETS
from tilewright.sweep.area import RESOURCES, Sample, area_metrics, describe, fit

CONFIGS = [PRESETS["tiny"], PRESETS["8x8"], PRESETS["16x16"]]


def test_a_common_factor_is_found_and_leaves_no_error() -> None:
    samples = [Sample(c, {name: 1.25 * value for name, value in area_metrics(c).items()}) for c in CONFIGS]
    for one in fit(samples).values():
        assert one.factor == pytest.approx(1.25)
        assert one.error == pytest.approx(0, abs=1e-9)


def test_the_error_is_that_of_a_sample_left_out() -> None:
    ratios = [1.0, 1.0, 4.0]
    samples = [
        Sample(c, {name: ratio * value for name, value in area_metrics(c).items()})
        for c, ratio in zip(CONFIGS, ratios, strict=True)
    ]
    # Left out, the first and second are estimated at twice what they are, the third at a quarter.
    for one in fit(samples).values():
        assert one.factor == pytest.approx(4 ** (1 / 3))
        assert one.error == pytest.approx(1)


def test_one_sample_has_no_error_and_none_no_fit() -> None:
    assert fit([]) == {}
    one = fit([Sample(CONFIGS[0], area_metrics(CONFIGS[0]))])
    assert all(math.isnan(f.error) for f in one.values())
    assert "no point of this study" in describe({}, 0)
    assert set(one) == set(RESOURCES)


def test_larger_arrays_take_more() -> None:
    luts = [area_metrics(config)["luts"] for config in CONFIGS]
    assert luts == sorted(luts) and luts[0] > 0
