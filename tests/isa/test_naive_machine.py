"""The functional simulator against a machine written from the ISA page alone, on random programs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tests.hw.row_configs import ROW_CONFIGS
from tests.isa.naive_machine import NaiveMachine
from tests.isa.page import Page
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.document import render
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import CORNERS, corner_program

_TINY = PRESETS["tiny"]

NAIVE_CONFIGS: dict[str, Config] = {
    "tiny": _TINY,
    "acc20": _TINY.with_values(gemm={"acc_bits": 20}, epilogue={"multiplier_bits": 24, "tables": 16}),
    "bare": _TINY.with_values(
        vector={"multiply": False}, epilogue={"tables": 0, "residual": False}, depthwise={"enabled": False}
    ),
    "depthwise_16x4_batch2": DEPTHWISE_CONFIGS["16x4_batch2"],
    "depthwise_8x16": DEPTHWISE_CONFIGS["8x16"],
    "rows": ROW_CONFIGS["tiny"],
    "rows_4_to_16_batch2": ROW_CONFIGS["4_to_16_batch2"],
    "rows_8_to_4": ROW_CONFIGS["8_to_4"],
}


def assert_equal(config: Config, seed: int, instructions: int) -> None:
    isa = instruction_set(config)
    program = corner_program(isa, seed, instructions)
    naive = NaiveMachine(Page(render(isa)), program.dram.copy())
    naive.run(program.offset, program.count)
    functional, dram = FunctionalSimulator(isa), program.dram.copy()
    functional.launch(dram, program.offset, program.count)
    for name, array in functional.state.items():
        if name == "tbl" and not config.epilogue.tables:
            continue
        places = np.argwhere(array != naive.memory[name])
        assert not len(places), f"{name}{places[0]} differs, {len(places)} in all, seed {seed}"
    assert np.array_equal(dram, naive.dram)


@pytest.mark.parametrize("name", NAIVE_CONFIGS)
def test_functional_does_what_the_page_says(name: str, seed: int) -> None:
    for number in range(len(CORNERS)):
        assert_equal(NAIVE_CONFIGS[name], seed + number, 14)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAIVE_CONFIGS)
def test_functional_does_what_the_page_says_at_length(name: str, seed: int) -> None:
    for number in range(20 * len(CORNERS)):
        assert_equal(NAIVE_CONFIGS[name], seed + number, 30)
