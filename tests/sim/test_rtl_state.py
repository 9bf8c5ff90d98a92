"""The state of the RTL simulator after random programs equals the functional simulator's."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import DeviceError
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import random_program
from tilewright.sim.rtl import RtlSimulator
from tilewright.sim.rtl.state import kept_parameters, read_state

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "rows": PRESETS["tiny"].with_values(vector={"rows": True}),
    "interval4": COMPUTE_CONFIGS["interval4_4_to_16_batch2"],
    "bare": PRESETS["tiny"].with_values(
        gemm={"block_in": 8, "acc_bits": 24}, epilogue={"residual": False, "tables": 0, "multiplier_bits": 12}
    ),
}


@pytest.mark.verilator
@pytest.mark.parametrize("name", CONFIGS)
def test_state_equals_the_functional_simulators(name: str, seed: int) -> None:
    isa = instruction_set(CONFIGS[name])
    rtl, functional = RtlSimulator(isa, max_cycles=2_000_000), FunctionalSimulator(isa)
    for number in range(20):
        program = random_program(isa, seed + number, 30, Limits(steps=40, dram_bytes=8192))
        drams = program.dram.copy(), program.dram.copy()
        rtl.launch(drams[0], program.offset, program.count)
        functional.launch(drams[1], program.offset, program.count)
        expected = {**functional.state, "prm": kept_parameters(isa.config, functional.state["prm"])}
        found = rtl.state
        assert found.keys() == expected.keys()
        for space, array in expected.items():
            assert found[space].dtype == array.dtype and found[space].shape == array.shape
            assert np.array_equal(found[space], array), f"{space} differs after program {program.seed}"
        assert np.array_equal(*drams)
    assert all(array.any() for space, array in rtl.state.items() if space != "tbl" or isa.config.epilogue.tables)


@pytest.mark.verilator
def test_models_are_freed_in_any_order() -> None:
    isa = instruction_set(CONFIGS["tiny"])
    first, second, third = (RtlSimulator(isa) for _ in range(3))
    thread = Thread(target=second.close)
    thread.start()
    thread.join()
    first.close()
    program = random_program(isa, 1, 10, Limits(steps=40, dram_bytes=8192))
    third.launch(program.dram, program.offset, program.count)
    assert third.state["act"].any()
    third.close()


def test_a_design_without_memories_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"no memory `scratchpad\.bank0\.half0`"):
        read_state(PRESETS["tiny"], lambda path: None)
