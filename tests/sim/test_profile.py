"""Counts of instructions, causes of stalls, and both by layer: by hand, and against the device's own counters."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.sim.handmade import CYCLES, ISA, Handmade, Line, box, loops
from tilewright.isa.config import PRESETS
from tilewright.isa.footprint import footprint
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import Engine, instruction_set
from tilewright.sim.accesses import accesses
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import random_program
from tilewright.sim.trace.stalls import CAUSES, engine_times
from tilewright.sim.trace.stream import TimedStream, short_names

CONFIG = ISA.config


def test_counts_are_what_the_instructions_say() -> None:
    counts = accesses(Handmade().stream.program)
    lanes, gemm = CONFIG.acc_lanes, CONFIG.gemm
    assert counts.steps.tolist() == [0, 0, 20, 0, 30]
    assert counts.macs.tolist() == [0, 0, 20 * CONFIG.macs_per_cycle, 0, 30 * CONFIG.macs_per_cycle]
    assert counts.read_bytes.tolist() == [8 * CONFIG.row_bytes, 4 * CONFIG.wgt_entry_bytes, 0, 0, 0]
    assert counts.write_bytes.tolist() == [0, 0, 0, 5 * CONFIG.row_bytes, 0]
    assert counts.fetch_bytes.tolist() == [ISA.instruction_bytes] * 5
    assert counts.requantized.tolist() == [0, 0, 5 * lanes, 0, 6 * lanes]
    reads = 20 * gemm.batch * gemm.block_in
    assert counts.act_bytes.tolist()[:4] == [8 * CONFIG.row_bytes, 0, reads + 5 * lanes, 5 * CONFIG.row_bytes]
    assert counts.wgt_bytes.tolist() == [n * CONFIG.wgt_entry_bytes for n in (0, 4, 20, 0, 30)]
    by_layer = counts.by_group(Handmade().stream.layer_of, 2)
    assert by_layer["instructions"].tolist() == [3, 2]
    assert by_layer["steps"].tolist() == [20, 30]


def test_sums_and_padding_are_counted() -> None:
    lanes = CONFIG.acc_lanes
    lines = (
        Line("LOAD_ACT", box(3, extent0=2, pad_left=1, pad_top=1)),
        Line("GEMM", {**loops(out2=2, red2=3), "to_acc": 1, "accumulate": 1}),
        Line("VECTOR", {**loops(out2=2, red2=3), "from_acc": 1, "residual": 1, "table_enable": 1}),
        Line("GEMM", {**loops(out2=7), "extent_red0": 0}),
    )
    counts = accesses(Handmade(lines).stream.program)
    assert counts.read_bytes[0] == 6 * CONFIG.row_bytes
    assert counts.act_bytes.tolist()[0] == 12 * CONFIG.row_bytes  # 4 columns, 3 rows
    assert counts.acc_bytes.tolist() == [0, 2 * 2 * 4 * lanes, 6 * 4 * lanes, 0]
    assert counts.requantized.tolist() == [0, 0, 2 * lanes, 0]
    assert counts.tbl_bytes.tolist() == [0, 0, 2 * lanes, 0]
    assert counts.vector_operations.tolist() == [0, 0, 6 * lanes, 0]
    assert not counts.steps[3] and not counts.act_bytes[3]


def test_bytes_and_bursts_equal_the_footprint(python_random: random.Random) -> None:
    """Bytes against those that the footprint lists, bursts against a walk over them."""
    isa = instruction_set(PRESETS["8x8"])
    found = random_program(isa, python_random.randrange(1 << 30), 60, Limits(steps=24, dram_bytes=8192))
    program = DecodedProgram.of(isa, found.dram, found.offset, found.count)
    counts = accesses(program)
    beat, limit = isa.config.bus_bytes, isa.config.bus.burst_beats
    for position in range(len(program)):
        instruction, values = program.instruction(position)
        if instruction.engine is Engine.COMPUTE:
            continue
        touched = footprint(isa, instruction.opcode, values)
        dram = (touched.writes if instruction.engine is Engine.STORE else touched.reads)["dram"]
        moved, bursts = (counts.write_bytes, counts.write_bursts) if instruction.engine is Engine.STORE else (
            counts.read_bytes, counts.read_bursts
        )  # fmt: skip
        assert moved[position] >= len(dram)  # runs may read the same bytes again
        windows = len(np.unique(dram // (beat * limit)))
        assert bursts[position] >= windows
        if moved[position] and not any(values.get(f"extent{i}", 1) > 1 for i in range(3)):
            assert (moved[position], bursts[position]) == (len(dram), windows)


def test_every_cycle_has_a_cause() -> None:
    timed = Handmade().timed
    times = engine_times(timed, accesses(timed.stream.program))
    assert times[Engine.LOAD].totals() == {**dict.fromkeys(CAUSES, 0), "dispatch": 5, "busy": 55, "idle": CYCLES - 60}
    # The first product's token comes in cycle 40; the second's in 60, while its fence holds it until 85.
    assert times[Engine.COMPUTE].totals() == {
        **dict.fromkeys(CAUSES, 0), "wait_load": 41, "busy": 20 + 30, "fence": 86 - 61, "drain": 140 - 116, "idle": 2,
    }  # fmt: skip
    assert times[Engine.STORE].totals() == {
        **dict.fromkeys(CAUSES, 0), "wait_compute": 86, "busy": 24, "idle": CYCLES - 110,
    }  # fmt: skip
    assert all(sum(time.totals().values()) == CYCLES for time in times.values())
    by_layer = times[Engine.LOAD].by_layer(timed.stream.layer_of, 2)
    assert by_layer[:, CAUSES.index("busy")].tolist() == [35, 20]  # the second load's time begins behind the first's


def test_an_instruction_that_comes_late_is_a_dispatch_stall() -> None:
    lines = (Line("LOAD_ACT", box(1), start=4, end=20), Line("LOAD_ACT", box(1), start=50, end=60))
    timed = Handmade(lines, 70, ("only",)).timed
    (total, *others) = (time.totals() for time in engine_times(timed, accesses(timed.stream.program)).values())
    assert (total["dispatch"], total["busy"], total["idle"]) == (4 + 30, 26, 10)
    assert [other["idle"] for other in others] == [70, 70]


@pytest.mark.verilator
def test_busy_cycles_and_bursts_equal_the_devices_counters(python_random: random.Random) -> None:
    from tilewright.sim.rtl.model import RtlSimulator

    isa = instruction_set(PRESETS["tiny"])
    simulator = RtlSimulator(isa)
    found = random_program(isa, python_random.randrange(1 << 30), 120, Limits(steps=24, dram_bytes=8192))
    result = simulator.launch(found.dram.copy(), found.offset, found.count)
    assert result.trace is not None and result.cycles is not None
    program = DecodedProgram.of(isa, found.dram, found.offset, found.count)
    stream = Handmade(isa=isa).stream
    stream = type(stream)(program, np.zeros(found.count, np.int64), ("",) * found.count, ("all",))
    counts = accesses(program)
    times = engine_times(TimedStream(stream, result.trace.start, result.trace.end, result.cycles), counts)
    for engine, time in times.items():
        assert sum(time.totals().values()) == result.cycles
        assert time.totals()["busy"] == result.counters[f"{engine}_busy"], engine
    assert counts.write_bursts.sum() == result.counters["write_bursts"]
    assert counts.read_bursts.sum() < result.counters["read_bursts"]  # the program is fetched, too
    assert counts.macs[program.positions["GEMM"]].sum() == result.counters["gemm_steps"] * isa.config.macs_per_cycle


def test_counts_equal_the_functional_simulators(python_random: random.Random) -> None:
    isa = instruction_set(PRESETS["tiny"])
    found = random_program(isa, python_random.randrange(1 << 30), 80, Limits(steps=24, dram_bytes=8192))
    counts = accesses(DecodedProgram.of(isa, found.dram, found.offset, found.count))
    counters = FunctionalSimulator(isa).launch(found.dram, found.offset, found.count).counters
    assert counters["bytes_loaded"] == counts.read_bytes.sum()
    assert counters["bytes_stored"] == counts.write_bytes.sum()
    assert counters["macs"] == counts.macs.sum()


def test_short_names_stay_different() -> None:
    assert short_names(["model/a/x;model/b/Conv_prequant", "deep/model/c/Conv"]) == ("b/Conv", "c/Conv")
    assert short_names(["a;x", "b;x", "/y", ""]) == ("x (0)", "x (1)", "y", "")
    assert short_names(["m/b1/x/conv", "m/b2/x/conv", "m/x/other"]) == ("b1/x/conv", "b2/x/conv", "x/other")
    assert short_names(["n" * 80]) == ("…" + "n" * 39,)
