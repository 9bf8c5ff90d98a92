"""The functional simulator against the reference interpreter and against NumPy; its errors and counters."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sim.numpy_reference import Machine
from tilewright.compiler.tir.interpreter import interpret
from tilewright.compiler.tir.native import compile_functions
from tilewright.compiler.tir.verify import verify
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ProgramError
from tilewright.isa.generator import Limits, RandomInstruction, random_instruction
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.semantics import memories
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.functional import FunctionalSimulator, instruction_functions

DRAM_BYTES = 8192
LIMITS = Limits(steps=24, dram_bytes=DRAM_BYTES)

_TINY = PRESETS["tiny"]
CONFIGS = {
    "tiny": _TINY,
    "4x8": _TINY.with_values(gemm={"block_out": 8}),
    "8x4": _TINY.with_values(gemm={"block_in": 8}),
    "batch": _TINY.with_values(gemm={"batch": 2}),
    "narrow": _TINY.with_values(gemm={"acc_bits": 24}, epilogue={"multiplier_bits": 24}),
    "rows": _TINY.with_values(gemm={"block_out": 8, "batch": 2}, vector={"rows": True}),
    "bare": _TINY.with_values(epilogue={"residual": False, "tables": 0}, vector={"multiply": False}),
}


@pytest.fixture(params=CONFIGS, scope="module")
def isa(request: pytest.FixtureRequest) -> InstructionSet:
    return instruction_set(CONFIGS[request.param])


@pytest.fixture(scope="module")
def simulator(isa: InstructionSet) -> FunctionalSimulator:
    return FunctionalSimulator(isa)


def each_kind(isa: InstructionSet, rng: random.Random, count: int) -> list[RandomInstruction]:
    """Draw `count` random instructions of every kind, in random order."""
    found: dict[str, list[RandomInstruction]] = {i.name: [] for i in isa.instructions}
    while any(len(drawn) < count for drawn in found.values()):
        drawn = random_instruction(isa, rng, LIMITS)
        if len(found[drawn.instruction.name]) < count:
            found[drawn.instruction.name].append(drawn)
    program = [drawn for kind in found.values() for drawn in kind]
    rng.shuffle(program)
    return program


def encode(isa: InstructionSet, program: list[RandomInstruction]) -> bytes:
    return b"".join(isa.encode(drawn.instruction.name, drawn.values) for drawn in program)


def randomize(simulator: FunctionalSimulator, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Fill the scratchpads with random contents, within the accumulator's range, and return copies."""
    half = 1 << (simulator.isa.config.gemm.acc_bits - 1)
    for name, array in simulator.state.items():
        array[...] = (
            rng.integers(-half, half, array.shape)
            if name == "acc"
            else rng.integers(0, 256, array.shape, np.uint8).view(array.dtype)
        )
    return {name: array.copy() for name, array in simulator.state.items()}


def memory_with(program: bytes, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.concatenate([rng.integers(0, 256, DRAM_BYTES, np.uint8), np.frombuffer(program, np.uint8)])


def test_equals_interpreter(
    simulator: FunctionalSimulator, python_random: random.Random, rng: np.random.Generator
) -> None:
    """Every instruction alone, on random contents."""
    isa = simulator.isa
    mem = memories(isa.config)
    functions = {i.name: verify(i.function(mem)) for i in isa.instructions}
    for drawn in each_kind(isa, python_random, 6):
        name, program = drawn.instruction.name, encode(isa, [drawn])
        expected = randomize(simulator, rng)
        dram = memory_with(program, rng)
        expected["dram"] = dram.copy()
        interpret(functions[name], drawn.values, expected)
        simulator.launch(dram, DRAM_BYTES, 1)
        for space, array in {**simulator.state, "dram": dram}.items():
            assert np.array_equal(array, expected[space]), f"{space} differs after {name} {drawn.values}"


def test_equals_numpy(simulator: FunctionalSimulator, python_random: random.Random, rng: np.random.Generator) -> None:
    """Whole programs; the program itself lies in the memory that they load from."""
    program = each_kind(simulator.isa, python_random, 12)
    state = randomize(simulator, rng)
    dram = memory_with(encode(simulator.isa, program), rng)
    machine = Machine(simulator.isa.config, dram.copy())
    for name, array in state.items():
        getattr(machine, name)[...] = array.reshape(getattr(machine, name).shape)
    for drawn in program:
        machine.execute(drawn.instruction.name, drawn.values)
    simulator.launch(dram, DRAM_BYTES, len(program))
    for name, array in simulator.state.items():
        assert np.array_equal(array, getattr(machine, name).reshape(array.shape)), name
    assert np.array_equal(dram, machine.dram)


def test_decoding_equals_the_table(isa: InstructionSet, python_random: random.Random) -> None:
    program = each_kind(isa, python_random, 5)
    decoded = DecodedProgram.of_bytes(isa, encode(isa, program))
    for name, positions in decoded.positions.items():
        for place, position in enumerate(positions):
            values = {operand: int(column[place]) for operand, column in decoded.operands[name].items()}
            assert program[position].instruction.name == name
            assert values == program[position].instruction.complete(program[position].values)


# ---- one configuration: errors, counters, state --------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> FunctionalSimulator:
    return FunctionalSimulator(instruction_set(PRESETS["tiny"]))


Written = tuple[str, dict[str, int]]


def launch(simulator: FunctionalSimulator, *program: Written, dram_bytes: int = 4096) -> dict[str, int]:
    data = b"".join(simulator.isa.encode(name, values) for name, values in program)
    dram = np.concatenate([np.zeros(dram_bytes, np.uint8), np.frombuffer(data, np.uint8)])
    return dict(simulator.launch(dram, dram_bytes, len(program)).counters)


_ONES = {f"extent_{loop}": 1 for loop in ("out0", "out1", "out2", "red0", "red1", "red2")}


@pytest.mark.parametrize("preset", ["tiny", "8x8"])
def test_compiling_says_nothing(preset: str, capfd: pytest.CaptureFixture[str]) -> None:
    """LLVM writes to stderr about loops that are to be vectorized and cannot be."""
    compile_functions(instruction_functions(instruction_set(PRESETS[preset])), "run")
    assert capfd.readouterr() == ("", "")


def test_counters(tiny: FunctionalSimulator) -> None:
    load = ("LOAD_ACT", {"extent_run": 5, "extent0": 2, "extent1": 1, "extent2": 1, "pad_left": 3, "dram_stride0": 64})
    store = ("STORE_ACT", {"extent_run": 7, "extent0": 1, "extent1": 1, "extent2": 3})
    weights = ("LOAD_WGT", {"extent_run": 2, "extent0": 2})
    gemm = ("GEMM", {**_ONES, "extent_out1": 3, "extent_red2": 4, "d_base": 100})
    nothing = ("GEMM", {**_ONES, "extent_out1": 0})
    vector = ("VECTOR", {**_ONES, "extent_red0": 5, "d_base": 100})
    assert launch(tiny, load, store, weights, gemm, nothing, vector) == {
        "instructions": 6,
        "gemm_steps": 12,
        "vector_steps": 5,
        "macs": 12 * 16,
        "bytes_loaded": 10 * 4 + 4 * 16,
        "bytes_stored": 21 * 4,
    }


def test_state_lives_between_launches(tiny: FunctionalSimulator) -> None:
    tiny.reset()
    assert not any(array.any() for array in tiny.state.values())
    tiny.state["act"][3] = [1, -2, 3, -4]
    copy = {**_ONES, "a_base": 3, "to_acc": 1, "d_base": 9}
    launch(tiny, ("VECTOR", copy))
    assert tiny.state["acc"][9].tolist() == [1, -2, 3, -4]
    launch(tiny, ("VECTOR", {**copy, "accumulate": 1, "b_base": 9}))
    assert tiny.state["acc"][9].tolist() == [2, -4, 6, -8]


def test_illegal_opcode(tiny: FunctionalSimulator) -> None:
    data = tiny.isa.encode("LOAD_WGT", {}) + bytes(tiny.isa.instruction_bytes)
    with pytest.raises(ProgramError, match="^instruction 1: illegal opcode 0$"):
        tiny.launch(np.frombuffer(data, np.uint8).copy(), 0, 2)


def test_illegal_vector_operation(tiny: FunctionalSimulator) -> None:
    data = bytearray(tiny.isa.encode("VECTOR", {}))
    layout = tiny.isa.by_name["VECTOR"].fields
    shift = sum(f.bits for f in layout[: [f.name for f in layout].index("op")])
    word = int.from_bytes(data, "little") | 15 << shift
    dram = np.frombuffer(word.to_bytes(len(data), "little"), np.uint8).copy()
    with pytest.raises(ProgramError, match=r"instruction 0 \(`VECTOR op=15`\) has no `op` of this number"):
        tiny.launch(dram, 0, 1)


_BOX = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1}
OUTSIDE: list[tuple[str, dict[str, int], str]] = [
    ("LOAD_WGT", {"extent_run": 1, "extent0": 1, "dram_base": 8192}, "LOAD_WGT .* reads byte 0x2000, outside"),
    ("STORE_ACT", {**_BOX, "dram_base": 16, "extent0": 9, "dram_stride0": -4}, "STORE_ACT .* writes byte"),
    ("LOAD_ACT", {**_BOX, "dram_base": 4000, "extent2": 2, "dram_stride2": 4096}, "LOAD_ACT .* reads byte"),
]


@pytest.mark.parametrize(("name", "values", "message"), OUTSIDE)
def test_access_outside_the_memory(tiny: FunctionalSimulator, name: str, values: dict[str, int], message: str) -> None:
    with pytest.raises(ProgramError, match=r"^instruction 0 \(`" + message):
        launch(tiny, (name, values))


def test_accesses_of_nothing_are_legal(tiny: FunctionalSimulator) -> None:
    far = {"dram_base": 1 << 20, "extent_run": 4, "extent0": 0}
    assert launch(tiny, ("LOAD_WGT", far))["bytes_loaded"] == 0


@pytest.mark.parametrize(
    ("offset", "count", "message"),
    [
        (0, 9, "9 instructions at byte 0 do not lie inside the memory of 64 bytes"),
        (-64, 1, "do not lie inside"),
        (16, 0, "multiple of 64, not 16"),
    ],
)
def test_program_outside_the_memory(tiny: FunctionalSimulator, offset: int, count: int, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        tiny.launch(np.zeros(64, np.uint8), offset, count)


def test_read_only_memory_is_refused(tiny: FunctionalSimulator) -> None:
    dram = np.zeros(64, np.uint8)
    dram.flags.writeable = False
    with pytest.raises(ProgramError, match="must be writeable"):
        tiny.launch(dram, 0, 0)
