"""Area of a configuration on an FPGA: the estimate from its shape, held against the synthesis results so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.fpga.devices import FAMILIES
from tilewright.fpga.estimate import estimate
from tilewright.isa.config import Config

#: The family whose resources the area metrics are.
FAMILY = "xc7"

#: What is estimated: the metric's name, and that of the resource.
RESOURCES = {"luts": "lut", "dsps": "dsp", "rams": "ram"}


@dataclass(frozen=True)
class Sample:
    """A configuration, and what synthesis gave for it by the names of the metrics."""

    config: Config
    synthesized: dict[str, float]


@dataclass(frozen=True)
class Fit:
    """How one metric's estimate compares with synthesis.

    Attributes
    ----------
    factor : float
        Synthesis over estimate, the geometric mean over all samples.
    error : float
        Median relative error of the corrected estimate for a sample that the factor was not fitted to; NaN for less
        than two samples.
    """

    factor: float
    error: float


def area_metrics(config: Config) -> dict[str, float]:
    """Return the area metrics of a configuration: estimates, which follow from the configuration alone."""
    resources = estimate(config, FAMILIES[FAMILY])
    return {name: round(getattr(resources, resource), 1) for name, resource in RESOURCES.items()}


def fit(samples: Sequence[Sample]) -> dict[str, Fit]:
    """Fit a correction of the estimates to synthesis results, by metric; empty without samples."""
    if not samples:
        return {}
    estimates = [area_metrics(sample.config) for sample in samples]
    pairs = list(zip(samples, estimates, strict=True))
    return {
        name: _fit(np.array([sample.synthesized[name] / max(one[name], 1e-9) for sample, one in pairs]))
        for name in RESOURCES
    }


def _fit(ratios: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Fit:
    logarithms = np.log(np.maximum(ratios, 1e-9))
    if len(ratios) < 2:
        return Fit(float(np.exp(logarithms.mean())), float("nan"))
    others = (logarithms.sum() - logarithms) / (len(ratios) - 1)
    return Fit(float(np.exp(logarithms.mean())), float(np.median(np.abs(np.exp(others - logarithms) - 1))))


def describe(fits: dict[str, Fit], samples: int) -> str:
    """Say how good the estimates are."""
    if not fits:
        return f"area: estimated from the configuration for {FAMILY}; no point of this study has been synthesized"
    parts = (f"{name} x {one.factor:.2f} off by {100 * one.error:.0f} %" for name, one in fits.items())
    return (
        f"area: estimated from the configuration for {FAMILY}; corrected by the {samples} points synthesized so far "
        f"(median error of one left out): {', '.join(parts)}"
    )
