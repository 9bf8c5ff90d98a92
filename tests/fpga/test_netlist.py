"""What synthesis made does what the RTL does: the netlist of ECP5 cells, simulated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fpga.ecp5_models import ecp5_models
from tests.sim.tile_programs import tile_program
from tilewright.fpga.devices import FAMILIES
from tilewright.fpga.synthesis import synthesize
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.fast import FastSimulator
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.model import RtlSimulator

TIMING = DramTiming(latency_cycles=20, bytes_per_cycle=64)


@pytest.mark.slow
@pytest.mark.fpga
@pytest.mark.verilator
def test_the_netlist_runs_programs(seed: int) -> None:
    isa = instruction_set(PRESETS["tiny"])
    netlist = synthesize(isa, FAMILIES["ecp5"], Cache(user_cache() / "fpga")).netlist.read_text()
    simulator = RtlSimulator(isa, TIMING, verilog=netlist + ecp5_models())
    reference = FastSimulator(isa, TIMING)
    for number in range(seed, seed + 2):
        program = tile_program(isa, number, 4)
        found, expected = program.dram.copy(), program.dram.copy()
        result = simulator.launch(found, program.offset, program.count)
        wanted = reference.launch(expected, program.offset, program.count)
        assert np.array_equal(found, expected) and not np.array_equal(found, program.dram)
        assert result.cycles == wanted.cycles and dict(result.counters) == dict(wanted.counters)
