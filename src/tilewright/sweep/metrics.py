"""What can be asked of a point; every metric is better when smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One figure of a point.

    Attributes
    ----------
    name, unit, doc : str
    """

    name: str
    unit: str
    doc: str


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("cycles", "cycles", "from start to finish interrupt, all models one after the other"),
        Metric("energy", "pJ", "estimate by the energy table"),
        Metric("dram_bytes", "bytes", "read from and written to DRAM"),
        Metric("luts", "LUT", "lookup tables of a 7-series FPGA"),
        Metric("dsps", "DSP", "multiplier blocks of a 7-series FPGA"),
        Metric("rams", "RAMB36", "block RAMs of a 7-series FPGA"),
        Metric("memory", "KiB", "scratchpads together"),
        Metric("cycles_luts", "cycles x LUT", "product of time and area"),
    )
}
