"""Whole programs with the depthwise mode on the compiled RTL, with lines to buffer, against what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import instruction_set
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import random_program
from tilewright.sim.rtl import RtlSimulator, Stalls

pytestmark = pytest.mark.verilator


@pytest.mark.parametrize(
    "name", ["8x8", pytest.param("16x8", marks=pytest.mark.slow), pytest.param("4x8_batch2", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("stalls", [Stalls(), Stalls(0.2, seed=3)], ids=["calm", "stalls"])
def test_random_programs_equal_functional(name: str, stalls: Stalls, seed: int) -> None:
    isa = instruction_set(DEPTHWISE_CONFIGS[name])
    ran = 0
    for draw in range(15):
        program = random_program(isa, seed + draw, 150, Limits(steps=96 if draw % 2 else 300))
        decoded = DecodedProgram.of(isa, program.dram, program.offset, program.count)
        ran += int((decoded.operands["DEPTHWISE"]["extent_red2"] > 0).sum())
        reference, dram = program.dram.copy(), program.dram.copy()
        FunctionalSimulator(isa).launch(reference, program.offset, program.count)
        RtlSimulator(isa, stalls=stalls, max_cycles=2_000_000).launch(dram, program.offset, program.count)
        assert np.array_equal(dram, reference), f"program {draw}"
    assert ran > 100
