"""Functional, fast and RTL agree on random programs: memories, scratchpads, tokens, times and counters.

The RTL runs each program twice, the second time with random stalls on all channels, random latencies and beats of
different ids interleaved; then results alone are compared. In all 10^4 instructions here, 10^6 with `-m slow`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.random_runs import RANDOM_CONFIGS, run_random_programs

pytestmark = pytest.mark.verilator

#: Fourteen of the configurations: 9 programs of 100 instructions on each are more than ten thousand.
SAMPLED = tuple(
    name for name in RANDOM_CONFIGS if name not in ("batch8", "wide_bus", "depthwise", "packed", "interval2_8_to_4")
)
SAMPLE_PROGRAMS, SAMPLE_INSTRUCTIONS = 9, 100
SLOW_INSTRUCTIONS = 200
#: On each configuration: a million instructions on all of them.
SLOW_PROGRAMS = -(-1_000_000 // (SLOW_INSTRUCTIONS * len(RANDOM_CONFIGS)))


@pytest.mark.parametrize("name", SAMPLED)
def test_simulators_agree_on_a_sample(name: str, seed: int, tmp_path: Path) -> None:
    count = run_random_programs(name, range(seed, seed + SAMPLE_PROGRAMS), SAMPLE_INSTRUCTIONS, tmp_path)
    assert count * len(SAMPLED) >= 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM_CONFIGS)
def test_simulators_agree(name: str, seed: int, tmp_path: Path) -> None:
    count = run_random_programs(name, range(seed, seed + SLOW_PROGRAMS), SLOW_INSTRUCTIONS, tmp_path)
    print(f"{count} instructions")
    assert count * len(RANDOM_CONFIGS) >= 1_000_000
