"""The fast simulator: its results, its errors, and that jumping over cycles changes no time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.sim.tile_programs import tile_program
from tests.sim.timing_configs import TIMING_CONFIGS, TIMING_DRAMS
from tilewright.hw.timing import COMPUTE_START_CYCLES, compute_timing, depthwise_cycles
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import DeviceError, ProgramError, ToolchainError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.registers import COUNTERS
from tilewright.sim.api import DramTiming, InstructionTrace, LaunchResult
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.fast.compare import compare
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import RandomProgram, random_program
from tilewright.sim.rtl.cache import Cache

TINY = instruction_set(PRESETS["tiny"])
DATA_BYTES = 4096
_BOX = {"extent0": 1, "extent1": 1, "extent2": 1}
LOAD = ("LOAD_ACT", {**_BOX, "extent_run": 64, "signal": 2})
STORE = ("STORE_ACT", {**_BOX, "dram_base": 1024, "extent_run": 64, "wait": 1})


def memory(*program: tuple[str, dict[str, int]]) -> np.ndarray:
    words = b"".join(TINY.encode(name, values) for name, values in program)
    return np.concatenate([np.arange(DATA_BYTES, dtype=np.uint8), np.frombuffer(words, np.uint8)])


def decoded(isa: InstructionSet, program: RandomProgram) -> DecodedProgram:
    return DecodedProgram.of(isa, program.dram, program.offset, program.count)


def test_results_are_those_of_the_functional_simulator(seed: int) -> None:
    fast, functional = FastSimulator(TINY), FunctionalSimulator(TINY)
    for number in range(seed, seed + 5):
        program = random_program(TINY, number, 40)
        first, second = program.dram.copy(), program.dram.copy()
        result = fast.launch(first, program.offset, program.count)
        functional.launch(second, program.offset, program.count)
        assert np.array_equal(first, second)
        assert not np.array_equal(first, program.dram)
        assert all(np.array_equal(fast.state[name], functional.state[name]) for name in functional.state)
        assert list(result.counters) == [name for name, _ in COUNTERS]


def test_without_results_memory_is_left_alone(seed: int) -> None:
    program = random_program(TINY, seed, 40)
    dram = program.dram.copy()
    timed = FastSimulator(TINY, compute_results=False).launch(dram, program.offset, program.count)
    assert np.array_equal(dram, program.dram)
    assert (
        compare(decoded(TINY, program), timed, FastSimulator(TINY).launch(dram, program.offset, program.count)) is None
    )


@pytest.mark.parametrize("name", TIMING_CONFIGS)
def test_jumps_change_no_time(name: str, seed: int) -> None:
    isa = instruction_set(TIMING_CONFIGS[name])
    programs = [random_program(isa, seed + i, 60) for i in range(3)]
    programs += [tile_program(isa, seed + i, 8) for i in range(2)]
    for timing in TIMING_DRAMS:
        jumps = FastSimulator(isa, timing, compute_results=False)
        steps = FastSimulator(isa, timing, compute_results=False, stepwise=True)
        for program in programs:
            pair = [s.launch(program.dram, program.offset, program.count) for s in (jumps, steps)]
            difference = compare(decoded(isa, program), pair[0], pair[1], ("jumps", "steps"))
            assert difference is None, f"seed {program.seed}, {timing}: {difference.report}"


def test_a_copy_takes_the_time_that_its_parts_take() -> None:
    def cycles(latency: int, rate: int) -> int:
        timing = DramTiming(latency_cycles=latency, bytes_per_cycle=rate)
        taken = FastSimulator(TINY, timing).launch(memory(LOAD, STORE), DATA_BYTES, 2).cycles
        assert taken is not None
        return taken

    base = cycles(20, 8)
    assert cycles(21, 8) == base + 3, "the latency of fetch, load and store in a row"
    beats = 64 * TINY.config.row_bytes // TINY.config.bus_bytes
    assert cycles(20, 1) > 2 * TINY.config.bus_bytes * (beats - 1) > base


@pytest.mark.parametrize("width", [1, 12])
def test_depthwise_takes_what_the_timing_facts_say(width: int) -> None:
    isa = instruction_set(TIMING_CONFIGS["depthwise"])
    extents = {"extent_out0": 3, "extent_out1": 5, "extent_out2": width, "extent_red1": 2, "extent_red2": 1}
    dram = np.frombuffer(isa.encode("DEPTHWISE", {**extents, "double_y": 1, "clamp_high": 9, "to_acc": 1}), np.uint8)
    result = FastSimulator(isa, compute_results=False).launch(dram, 0, 1)
    assert result.trace is not None
    cycles = depthwise_cycles(isa.config, 3, 4 * 2 + 2, width)
    latency = compute_timing(isa.config).latency
    assert result.trace.end[0] - result.trace.start[0] == COMPUTE_START_CYCLES + cycles - 1 + latency
    assert result.counters["compute_busy"] == 3 * (4 * 2 + 2) * width
    assert result.counters["gemm_steps"] == 0


def test_nothing_takes_two_cycles() -> None:
    result = FastSimulator(TINY).launch(memory(), DATA_BYTES, 0)
    assert result.cycles == 2
    assert {name for name, value in result.counters.items() if value} == {"cycles"}


def test_repeated_and_changed_programs(seed: int) -> None:
    program = random_program(TINY, seed, 20)
    simulator, dram = FastSimulator(TINY, compute_results=False), program.dram.copy()
    first = simulator.launch(dram, program.offset, 20)
    assert compare(decoded(TINY, program), first, simulator.launch(dram, program.offset, 20)) is None
    dram[program.offset] = 63
    with pytest.raises(ProgramError, match="instruction 0: illegal opcode 63"):
        simulator.launch(dram, program.offset, 20)


@pytest.mark.parametrize(
    ("launch", "error", "message"),
    [
        (
            partial(FastSimulator(TINY).launch, memory(LOAD, ("STORE_ACT", {**STORE[1], "wait": 2})), DATA_BYTES, 2),
            DeviceError,
            r"deadlock: .*STORE_ACT #1 waits for a token from compute",
        ),
        (
            partial(FastSimulator(TINY, max_cycles=50).launch, memory(LOAD, STORE), DATA_BYTES, 2),
            DeviceError,
            r"has not ended after 50 cycles: load has finished 0 of 1 instructions",
        ),
        (
            partial(FastSimulator(TINY).launch, memory(("LOAD_ACT", {**LOAD[1], "dram_base": 1 << 18})), DATA_BYTES, 1),
            ProgramError,
            r"reads byte 0x40000, outside the memory of \d+ bytes",
        ),
        (partial(FastSimulator(TINY).launch, memory(), DATA_BYTES, 1), ProgramError, r"do not lie inside the memory"),
        (partial(FastSimulator(TINY).launch, memory(), -64, 0), ProgramError, r"do not lie inside the memory"),
    ],
    ids=["deadlock", "time-out", "outside", "no program", "negative offset"],
)
def test_errors_name_what_is_wrong(launch: Callable[[], LaunchResult], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        launch()


def test_the_first_difference_is_named() -> None:
    dram = memory(LOAD, STORE)
    program = DecodedProgram.of(TINY, dram, DATA_BYTES, 2)
    result = FastSimulator(TINY).launch(dram, DATA_BYTES, 2)
    assert result.trace is not None
    assert compare(program, result, result) is None
    end = result.trace.end + np.array([0, 5])
    later = LaunchResult(result.cycles, {**result.counters, "store_busy": 1}, InstructionTrace(result.trace.start, end))
    difference = compare(program, result, later, ("rtl", "fast"))
    assert difference is not None and difference.instruction == 1
    assert f"..{end[1]}: instruction 1 (`STORE_ACT wait=load" in difference.report
    assert f"counter store_busy: rtl {result.counters['store_busy']}, fast 1" in difference.report
    with pytest.raises(ProgramError, match="`functional` knows no time"):
        compare(program, LaunchResult(None, {}, None), result, ("functional", "fast"))


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolchainError, match="no-such-compiler"):
        FastSimulator(TINY, compute_results=False, cache=Cache(tmp_path))


def test_one_library_serves_all_configurations(tmp_path: Path) -> None:
    for config in (PRESETS["tiny"], PRESETS["16x16"]):
        FastSimulator(instruction_set(config), compute_results=False, cache=Cache(tmp_path))
    assert len(list(tmp_path.glob("*/fast.so"))) == 1


def test_amaranth_is_not_needed() -> None:
    script = "import sys, tilewright.sim.fast; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
