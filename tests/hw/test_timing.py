"""Promises of the ISA that the pipeline's depths must keep."""

from __future__ import annotations

import pytest

from tilewright.hw.timing import compute_timing
from tilewright.isa.config import PRESETS, Config, Gemm
from tilewright.isa.order import RESULT_STEPS

DEEPEST = Config(name="deepest", gemm=Gemm(block_in=64, block_out=64, cascade=64))


@pytest.mark.parametrize("config", [*PRESETS.values(), DEEPEST], ids=lambda config: config.name)
def test_results_are_written_in_time(config: Config) -> None:
    timing = compute_timing(config)
    assert timing.operands < timing.latency < RESULT_STEPS
