"""The fast simulator against the RTL: every start, every end and every counter are equal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tests.sim.tile_programs import tile_program
from tests.sim.timing_configs import TIMING_CONFIGS, TIMING_DRAMS
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.fast.compare import compare
from tilewright.sim.random_programs import RandomProgram, random_program
from tilewright.sim.rtl import RtlSimulator

pytestmark = pytest.mark.verilator

PROGRAMS = {"slow": (12, 4), "sample": (8, 2)}  # random ones and those of tiles, for each configuration and memory


def assert_equal(isa: InstructionSet, timing: DramTiming, programs: Iterable[RandomProgram]) -> None:
    """Compare times, counters and memory of programs on both simulators, scratchpads living on from one to the next."""
    fast, rtl = FastSimulator(isa, timing), RtlSimulator(isa, timing)
    for program in programs:
        first, second = program.dram.copy(), program.dram.copy()
        expected = rtl.launch(first, program.offset, program.count)
        found = fast.launch(second, program.offset, program.count)
        code = DecodedProgram.of(isa, program.dram, program.offset, program.count)
        difference = compare(code, expected, found, ("rtl", "fast"))
        where = f"seed {program.seed}, {program.count} instructions, {timing}"
        assert difference is None, f"{where}: {difference.report}"
        assert np.array_equal(first, second), f"{where}: the results differ"


def drawn(isa: InstructionSet, seed: int, kind: str) -> Iterable[RandomProgram]:
    random, tiles = PROGRAMS[kind]
    yield from (random_program(isa, seed + i, 60, Limits(steps=(24, 96, 300)[i % 3])) for i in range(random))
    yield from (tile_program(isa, seed + i, 10) for i in range(tiles))


@pytest.mark.parametrize("timing", [TIMING_DRAMS[0], TIMING_DRAMS[2]], ids=["near", "far"])
@pytest.mark.parametrize("name", ["tiny", "rectangular", "rows"])
def test_a_sample_is_equal(name: str, timing: DramTiming, seed: int) -> None:
    isa = instruction_set(TIMING_CONFIGS[name])
    assert_equal(isa, timing, drawn(isa, seed, "sample"))


@pytest.mark.slow
@pytest.mark.parametrize("timing", TIMING_DRAMS, ids=["near", "single", "far", "shallow"])
@pytest.mark.parametrize("name", TIMING_CONFIGS)
def test_all_are_equal(name: str, timing: DramTiming, seed: int) -> None:
    isa = instruction_set(TIMING_CONFIGS[name])
    assert_equal(isa, timing, drawn(isa, seed, "slow"))
