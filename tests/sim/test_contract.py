"""What every simulator promises: the same results, names and errors, on whichever a program runs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import tilewright
from tests.hw.compute_configs import COMPUTE_CONFIGS
from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tests.sim.tile_programs import tile_program
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import OPCODE_BITS, InstructionSet, instruction_set
from tilewright.isa.registers import COUNTERS
from tilewright.isa.semantics import OUT_LOOPS
from tilewright.sim.api import DramTiming, Simulator
from tilewright.sim.random_programs import RandomProgram, random_program

ISA = instruction_set(PRESETS["tiny"])
WITH_TIME = ("fast", "rtl")
SIMULATORS = ["functional", "fast", pytest.param("rtl", marks=pytest.mark.verilator)]


@pytest.fixture(params=SIMULATORS)
def on(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def simulator(on: str) -> Simulator:
    return tilewright.simulator(on, "tiny")


def expected(program: RandomProgram) -> NDArray[np.uint8]:
    """Give the memory that the program leaves, by the functional simulator."""
    dram = program.dram.copy()
    tilewright.simulator("functional", "tiny").launch(dram, program.offset, program.count)
    return dram


def test_knows_its_machine(simulator: Simulator, on: str) -> None:
    assert simulator.isa.config.hash == ISA.config.hash
    assert type(simulator).__name__.lower().startswith(on)


@pytest.mark.parametrize("name", ["tiny", "interval2"])
def test_same_memory_out(on: str, name: str, seed: int) -> None:
    isa = instruction_set(COMPUTE_CONFIGS[name])
    simulator, fresh = tilewright.simulator(on, isa.config), tilewright.simulator("functional", isa.config)
    programs = [tile_program(isa, seed, 6), *(random_program(isa, seed + i, 40) for i in range(3))]
    for program in programs:  # scratchpads live on from one to the next
        found, wanted = program.dram.copy(), program.dram.copy()
        simulator.launch(found, program.offset, program.count)
        fresh.launch(wanted, program.offset, program.count)
        assert np.array_equal(found, wanted)
        assert not np.array_equal(found, program.dram)


def test_counters_have_the_registers_names(simulator: Simulator, on: str, seed: int) -> None:
    program = tile_program(ISA, seed, 6)
    result = simulator.launch(program.dram.copy(), program.offset, program.count)
    names = [name for name, _ in COUNTERS]
    if on in WITH_TIME:
        assert list(result.counters) == names
        assert result.counters["cycles"] == result.cycles
        assert result.trace is not None and len(result.trace.end) == program.count
        assert (result.trace.start >= 0).all() and (result.trace.start <= result.trace.end).all()
        assert result.trace.end.max() <= (result.cycles or 0)
    else:
        assert result.cycles is None and result.trace is None
    reference = tilewright.simulator("functional", "tiny").launch(program.dram.copy(), program.offset, program.count)
    shared = set(names) & set(reference.counters)
    assert "gemm_steps" in shared
    assert {name: result.counters[name] for name in shared} == {name: reference.counters[name] for name in shared}


@pytest.mark.verilator
@pytest.mark.parametrize("timing", [DramTiming(), DramTiming(100, 1, 2)], ids=["near", "far"])
def test_fast_and_rtl_count_alike(timing: DramTiming, seed: int) -> None:
    program = tile_program(ISA, seed, 6)
    results = [
        tilewright.simulator(on, "tiny", dram=timing).launch(program.dram.copy(), program.offset, program.count)
        for on in WITH_TIME
    ]
    assert dict(results[0].counters) == dict(results[1].counters)


def test_twice_the_same(simulator: Simulator, seed: int) -> None:
    program = tile_program(ISA, seed, 4)
    first, second = (simulator.launch(program.dram.copy(), program.offset, program.count) for _ in range(2))
    assert first.cycles == second.cycles and dict(first.counters) == dict(second.counters)


def write(dram: NDArray[np.uint8], position: int, words: bytes) -> None:
    """Replace instructions of a program that begins at `position`."""
    dram[position : position + len(words)] = np.frombuffer(words, np.uint8)


def test_an_illegal_instruction_is_named(simulator: Simulator, seed: int) -> None:
    program = tile_program(ISA, seed, 2)
    dram = program.dram.copy()
    dram[program.offset] = 63
    before = dram.copy()
    with pytest.raises(ProgramError, match=r"instruction 0: illegal opcode 63"):
        simulator.launch(dram, program.offset, program.count)
    assert np.array_equal(dram, before), "nothing has run"


def test_an_address_outside_the_memory_is_named(simulator: Simulator, seed: int) -> None:
    program = tile_program(ISA, seed, 2)
    dram = program.dram.copy()
    box = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1}
    write(dram, program.offset, ISA.encode("STORE_ACT", {**box, "dram_base": 1 << 20}))
    before = dram.copy()
    with pytest.raises(ProgramError, match=r"instruction 0 \(`STORE_ACT .*writes byte 0x100000, outside the memory"):
        simulator.launch(dram, program.offset, program.count)
    assert np.array_equal(dram, before), "nothing has run"


def forced(isa: InstructionSet, name: str, values: dict[str, int]) -> bytes:
    """Encode an instruction whatever the table says of the operands."""
    instruction = isa.by_name[name]
    word, shift = int(instruction.opcode), OPCODE_BITS
    for operand, f in instruction.operands.items():
        word |= f.pack(values.get(operand, 0)) << shift
        shift += f.bits
    return word.to_bytes(isa.instruction_bytes, "little")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"extent_out2": 20}, "is illegal: an input row must be at most 16 pixels long"),
        ({"extent_red2": 6}, "has `extent_red2` above 4"),
    ],
)
def test_broken_constraints_are_named(on: str, values: dict[str, int], why: str) -> None:
    isa = instruction_set(DEPTHWISE_CONFIGS["4x4"])
    ones = {f"extent_{name}": 1 for name in (*OUT_LOOPS, "red1", "red2")}
    dram = np.zeros(4096, np.uint8)
    write(dram, 0, isa.encode("DEPTHWISE", ones))
    write(dram, isa.instruction_bytes, forced(isa, "DEPTHWISE", {**ones, **values}))
    with pytest.raises(ProgramError, match=rf"instruction 1 \(`DEPTHWISE .*{why}"):
        tilewright.simulator(on, isa.config).launch(dram, 0, 2)


def test_misaligned_addresses_are_named(simulator: Simulator) -> None:
    dram = np.zeros(4096, np.uint8)
    write(dram, 0, forced(ISA, "LOAD_PRM", {"dram_base": 4, "extent_run": 1, "extent0": 1}))
    with pytest.raises(ProgramError, match=r"instruction 0 .* has a `dram_base` that is no multiple of"):
        simulator.launch(dram, 0, 1)


def test_a_program_outside_the_memory_is_refused(simulator: Simulator, seed: int) -> None:
    program = tile_program(ISA, seed, 2)
    dram = program.dram.copy()
    with pytest.raises(ProgramError, match="memory of"):
        simulator.launch(dram, len(dram) - len(dram) % 64, 5)
    assert np.array_equal(dram, program.dram), "nothing has run"


def test_works_after_an_error(simulator: Simulator, seed: int) -> None:
    program = tile_program(ISA, seed, 4)
    with pytest.raises(ProgramError):
        simulator.launch(program.dram.copy(), len(program.dram), 64)
    found = program.dram.copy()
    simulator.launch(found, program.offset, program.count)
    assert np.array_equal(found, expected(program))
