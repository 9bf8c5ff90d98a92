"""Promises of the ISA that the pipeline's depths must keep."""

from __future__ import annotations

import pytest

from tilewright.hw.timing import compute_timing, step_interval
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.order import RESULT_STEPS
from tilewright.isa.sections import Depthwise, Epilogue, Gemm

DEEPEST = Config(name="deepest", gemm=Gemm(block_in=64, block_out=64, cascade=64))
SLOWEST = Config(
    name="slowest", gemm=DEEPEST.gemm, epilogue=Epilogue(interval=4), depthwise=Depthwise(enabled=False)
)  # fmt: skip


@pytest.mark.parametrize("config", [*PRESETS.values(), DEEPEST, SLOWEST], ids=lambda config: config.name)
def test_results_are_written_in_time(config: Config) -> None:
    timing = compute_timing(config)
    assert timing.operands < timing.latency < RESULT_STEPS


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_results_are_apart(interval: int) -> None:
    config = SLOWEST.with_values(epilogue={"interval": interval})
    apart = {reduction: reduction * step_interval(config, reduction) for reduction in range(1, 10)}
    assert all(interval <= cycles for cycles in apart.values())
    assert all(apart[reduction] == reduction for reduction in apart if reduction >= interval)
