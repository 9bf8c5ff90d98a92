"""Programs that fill what can be full, and reach what is far: more than random programs do by themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from tests.hw.programs import mask
from tests.sim.random_runs import stalls_of
from tests.sim.test_faults import ISA, depthwise_rows
from tests.sim.test_stopped_runs import TIMING, PlacedDevice, after, program_of
from tests.sim.timing_configs import TIMING_DRAMS
from tilewright.isa.generator import Limits, RandomInstruction, random_instruction
from tilewright.isa.instructions import Engine
from tilewright.isa.parameter_record import RECORD_BYTES
from tilewright.isa.registers import Error
from tilewright.isa.row_ops import SUM_BITS
from tilewright.sim import control
from tilewright.sim.api import DramTiming
from tilewright.sim.cross_check import CrossCheck
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.random_programs import (
    RandomProgram,
    filling,
    known_instruction,
    placed_program,
    synchronised_program,
)
from tilewright.sim.rtl import Stalls

pytestmark = pytest.mark.verilator

LIMITS = Limits(steps=4, nothing=0.1)
WALKS = ("out0", "out1", "out2", "red0", "red1", "red2")
LOOPS = [f"extent_{walk}" for walk in WALKS]
FAR, KIND = 1 << 31, 2  # the top bit of addresses; the slow and far memory


def drawn(rng: random.Random, count: int, takes: Callable[[RandomInstruction], bool]) -> list[RandomInstruction]:
    """Draw instructions of one sort."""
    found: list[RandomInstruction] = []
    while len(found) < count:
        one = random_instruction(ISA, rng, LIMITS)
        found += [one] if takes(one) else []
    return found


@cache
def check(timing: DramTiming, stalls: Stalls) -> CrossCheck:
    return CrossCheck(ISA, timing, stalls)


@dataclass(frozen=True)
class Crowd:
    """Instructions of one sort.

    Attributes
    ----------
    count : int
    takes : Callable
        Whether an instruction is of that sort.
    is_serial : bool
        Each waits for the one before it.
    """

    count: int
    takes: Callable[[RandomInstruction], bool]
    is_serial: bool = False


CROWDS = {
    "loads": Crowd(100, lambda one: one.instruction.engine is Engine.LOAD),
    "stores": Crowd(170, lambda one: one.instruction.engine is Engine.STORE),
    "rows": Crowd(150, lambda one: one.instruction.name == "ROW"),
    "depthwise": Crowd(60, lambda one: one.instruction.name == "DEPTHWISE"),
    "turns": Crowd(330, lambda one: not one.footprint.reads and not one.footprint.writes, is_serial=True),
}


@cache
def crowd_program(name: str, seed: int) -> RandomProgram:
    crowd = CROWDS[name]
    instructions = [*filling(ISA, LIMITS.dram_bytes), *drawn(random.Random(seed), crowd.count, crowd.takes)]
    return synchronised_program(ISA, seed, instructions, LIMITS.dram_bytes, serial=crowd.is_serial)


@pytest.mark.parametrize("name", CROWDS)
def test_a_crowd(name: str, seed: int) -> None:
    mismatch = check(TIMING_DRAMS[KIND], stalls_of(KIND)).compare(crowd_program(name, seed))
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("engine", [Engine.LOAD, Engine.STORE], ids=str)
def test_many_that_do_nothing_behind_one_that_takes_long(engine: Engine, seed: int) -> None:
    """They are done in order, and so many of them wait for the first that no more may be under way."""
    name = "LOAD_ACT" if engine is Engine.LOAD else "STORE_ACT"
    box = {"extent_run": 40, "extent0": 4, "extent1": 1, "extent2": 1, "dram_stride0": 8}
    long, nothing = known_instruction(ISA, name, box), known_instruction(ISA, name, {**box, "extent1": 0})
    instructions = [*filling(ISA, LIMITS.dram_bytes), *([long] + [nothing] * 70) * 2]
    program = synchronised_program(ISA, seed, instructions, LIMITS.dram_bytes)
    mismatch = check(replace(TIMING_DRAMS[0], latency_cycles=300), stalls_of(KIND)).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("engine", [Engine.LOAD, Engine.STORE], ids=str)
def test_many_that_signal(engine: Engine, seed: int) -> None:
    mismatch = check(TIMING_DRAMS[KIND], stalls_of(KIND)).compare(signalling_program(engine, seed))
    assert mismatch is None, mismatch.report


def signalling_program(engine: Engine, seed: int) -> RandomProgram:
    """Return instructions of which several are under way, each giving some tokens; nobody takes them."""
    rng, left = random.Random(seed), dict.fromkeys(engine.others, (1 << ISA.config.queue.token_bits) - 1)
    box = {"extent_run": 2, "extent0": 1, "extent1": 1, "extent2": 1}
    written = []
    while any(left.values()):
        takers = [taker for taker, tokens in left.items() if tokens and rng.random() < 0.4]
        left |= {taker: left[taker] - 1 for taker in takers}
        signal = sum(mask(engine, taker) for taker in takers)
        written.append((f"{engine.name}_ACT", {**box, "dram_base": 16 * len(written), "signal": signal}))
    complete = [(name, ISA.by_name[name].complete(values)) for name, values in written]
    return placed_program(ISA, seed, complete, LIMITS.dram_bytes)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_short_programs(count: int, seed: int) -> None:
    """Fetched with as many beats as they have, from the beginning of a burst or across its end."""
    rng = random.Random(seed)
    for words in (0, 2, 3):  # of data in front of the program
        instructions = drawn(rng, count, lambda one: True)
        program = synchronised_program(ISA, seed, instructions, LIMITS.dram_bytes + 64 * words)
        mismatch = check(TIMING_DRAMS[0], stalls_of(KIND)).compare(program)
        assert mismatch is None, mismatch.report


#: What takes long, and what does nothing, by engine.
LONG: Mapping[Engine, tuple[str, Mapping[str, int]]] = {
    Engine.LOAD: ("LOAD_ACT", {"extent_run": 64, "extent0": 30, "extent1": 1, "extent2": 1}),
    Engine.COMPUTE: ("GEMM", {**dict.fromkeys(LOOPS, 1), "extent_red0": 2000, "to_acc": 1}),
    Engine.STORE: ("STORE_ACT", {"extent_run": 64, "extent0": 30, "extent1": 1, "extent2": 1}),
}
PAIRS = [(giver, taker) for giver in Engine for taker in giver.others]


@pytest.mark.parametrize(("giver", "taker"), PAIRS, ids=[f"{giver}_to_{taker}" for giver, taker in PAIRS])
def test_more_tokens_than_a_counter_should_hold(giver: Engine, taker: Engine, seed: int) -> None:
    """Given while the taker is at something else: the giver is held back, and what is under way finds room."""
    tokens = (1 << ISA.config.queue.token_bits) + 2
    long, operands = LONG[taker]
    gives, takes = LONG[giver][0], long
    written = [
        (long, dict(operands)),
        *[(gives, {"signal": mask(giver, taker)})] * tokens,
        *[(takes, {"wait": mask(taker, giver)})] * tokens,
    ]
    complete = [(name, ISA.by_name[name].complete(values)) for name, values in written]
    program = placed_program(ISA, seed, complete, LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("engine", Engine, ids=str)
def test_an_instruction_that_takes_long_is_abandoned(engine: Engine, seed: int) -> None:
    """The next run begins at once; an engine that had not stopped, or what stood in its queues, would be in its way."""
    name, operands = LONG[engine]
    program = placed_program(ISA, seed, [(name, ISA.by_name[name].complete(operands))] * 12, LIMITS.dram_bytes)
    fast, device = FastSimulator(ISA, TIMING, compute_results=False), PlacedDevice(None, "calm", 0)
    for moment in (100, 200, 301):
        device.begin(program)
        device.stop("start", moment)
        device.check_run(program_of(seed), fast)


DIRECTIONS = [("pad_left", "extent_run", "pad_right"), ("pad_top", "extent0", "pad_bottom")]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=["columns", "rows"])
def test_the_largest_boxes(direction: tuple[str, ...], seed: int) -> None:
    """Both paddings of a direction and what lies between them; what is loaded last stays."""
    largest = dict.fromkeys(direction, ISA.by_name["LOAD_ACT"].operands["extent_run"].values.stop - 1)
    box = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1, "stride0": 3, "pad_value": 5, **largest}
    loads = [known_instruction(ISA, "LOAD_ACT", {**box, "base": base}) for base in (0, 77)]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), *loads], LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("direction", DIRECTIONS, ids=["columns", "rows"])
@pytest.mark.parametrize("more", [1, 2])
def test_boxes_a_little_larger_than_a_power_of_two(more: int, direction: tuple[str, ...], seed: int) -> None:
    """Padding included, they are by one or two larger than what the bits of an extent, and of twice that, hold."""
    largest = ISA.by_name["LOAD_ACT"].operands["extent_run"].values.stop - 1
    box = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1, "stride0": 3, "pad_value": 5}
    loads = [
        known_instruction(ISA, "LOAD_ACT", {**box, **dict(zip(direction, extents, strict=True))})
        for extents in ((more, largest, 1), (1, largest - more, 2 * more + 1), (largest, 2 + more, largest))
    ]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), *loads], LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("name", ["LOAD_ACT", "STORE_ACT"])
@pytest.mark.parametrize("loop", ["extent_run", "extent0", "extent1", "extent2"])
def test_the_longest_loops(loop: str, name: str, seed: int) -> None:
    operands = ISA.by_name[name].operands
    box = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1, loop: operands[loop].values.stop - 1}
    strides = {f"stride{i}": 5 + 2 * i for i in range(3)} | {f"dram_stride{i}": 8 for i in range(3)}
    once = known_instruction(ISA, name, {**box, **strides})
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), once], LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", ["GEMM", "VECTOR", "ROW"])
def test_the_longest_sums_and_walks(name: str, loop: str, seed: int) -> None:
    operands = ISA.by_name[name].operands
    strides = {f"{space}_{walk}": 1 + 2 * i for space in "awbd" for i, walk in enumerate(WALKS)}
    step = {**dict.fromkeys(LOOPS, 1), **strides, loop: operands[loop].values.stop - 1, "to_acc": 1, "op": 1}
    agree_on(seed, [(name, step)])


def test_the_longest_windows(seed: int) -> None:
    """The longest rows, as `test_faults` has them, and as many of them as there can be."""
    most = ISA.by_name["DEPTHWISE"].operands["extent_out1"].values.stop - 1
    walks = {"a_row": 5, "a_pixel": 1, "d_out1": 3, "d_out2": 1, "extent_red1": 1}
    rows = [*depthwise_rows(0), {**depthwise_rows(0)[0], "extent_out2": 1, "extent_out1": most}]
    agree_on(seed, [("DEPTHWISE", {**row, **walks, "d_base": 200 * i}) for i, row in enumerate(rows)])


def test_rows_right_behind_others(seed: int) -> None:
    """Behind instructions that have the same number in the place of the operation, and the other way round."""
    ones, written = {**dict.fromkeys(LOOPS, 1), "extent_out2": 3, "d_out2": 1, "to_acc": 1}, []
    for op in ISA.row_ops:
        row = ("ROW", {**ones, "op": op.code, "d_base": 20 + 3 * op.code})
        same = [("VECTOR", {**ones, "op": op.code, "d_base": 3 * op.code})] if op.code < len(ISA.vector_ops) else []
        for other in [*same, ("GEMM", {**ones, "d_base": 60}), ("DEPTHWISE", {**ones, "d_base": 80})]:
            written += [other, row, other]
    agree_on(seed, written)


def agree_on(seed: int, written: Sequence[tuple[str, Mapping[str, int]]]) -> None:
    """Compare a program of these instructions, each with those operands that it has, behind full scratchpads."""
    instructions = [
        known_instruction(ISA, name, {key: v for key, v in values.items() if key in ISA.by_name[name].operands})
        for name, values in written
    ]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), *instructions], LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


@pytest.mark.parametrize("name", ["LOAD_ACT", "STORE_ACT"])
def test_boxes_wait_in_full_queues(name: str, seed: int) -> None:
    box = {"extent_run": 8, "extent0": 6, "extent1": 1, "extent2": 1, "stride0": 8, "dram_stride0": 64}
    boxes = [known_instruction(ISA, name, {**box, "dram_base": 512 * i, "base": 16 * i}) for i in range(30)]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), *boxes], LIMITS.dram_bytes)
    mismatch = check(TIMING_DRAMS[KIND], stalls_of(KIND)).compare(program)
    assert mismatch is None, mismatch.report


def lifted(program: RandomProgram) -> RandomProgram:
    """Return the program with the top bit of all its addresses in DRAM changed."""
    code, data = DecodedProgram.of(ISA, program.dram, program.offset, program.count), program.dram[: program.offset]
    written = [code.instruction(i) for i in range(program.count)]
    moved = [(i.name, {n: v ^ FAR if n == "dram_base" else v for n, v in values.items()}) for i, values in written]
    words = b"".join(ISA.encode(name, values) for name, values in moved)
    return replace(program, dram=np.concatenate([data, np.frombuffer(words, np.uint8)]))


@pytest.mark.parametrize("number", range(6))
def test_addresses_wrap(number: int, seed: int) -> None:
    """BASE and every address in the program have their top bits set: the sum is what it was without."""
    program = program_of(seed + number)
    expected, _ = after(program)
    device, far = PlacedDevice(None, "calm", 4096), lifted(program)
    room = device.dram[device.base : device.base + len(far.dram)]
    room[:] = far.dram
    control.describe_program(device.model, device.base + FAR, program.offset + FAR, program.count)
    control.start(device.model)
    assert device.end() == (True, Error.NONE)
    assert np.array_equal(room[: program.offset], expected[: program.offset])


@cache
def small_program(shift: int, seed: int) -> RandomProgram:
    computes = drawn(random.Random(seed), 90, lambda one: one.instruction.engine is Engine.COMPUTE)
    computes = [_far_scale(one) if one.instruction.name == "ROW" else one for one in computes]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), *computes], LIMITS.dram_bytes)
    rng, half = np.random.default_rng(seed), LIMITS.dram_bytes // 2
    program.dram[:half] = rng.integers(-3, 4, half, np.int8).view(np.uint8)
    records = program.dram[half : 2 * half].reshape(-1, RECORD_BYTES)
    records[:, 0:4] = rng.integers(-9, 10, len(records)).astype("<i4").view(np.uint8).reshape(-1, 4)
    records[:, 4:8] = np.array([0, 0, 0, shift], np.uint8)
    records[:, 4] = rng.integers(1, 4 << shift, len(records))
    return program


def _far_scale(one: RandomInstruction) -> RandomInstruction:
    """Scale and offset as far apart as they can be: logarithms of small sums become negative."""
    return replace(one, values={**one.values, "scale": one.instruction.operands["scale"].values.stop - 1, "offset": 0})


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_small_numbers(shift: int, seed: int) -> None:
    """Sums, multipliers and shifts so small that the lowest bit of everything shows in results."""
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(small_program(shift, seed))
    assert mismatch is None, mismatch.report


def test_logarithms_of_sums_of_every_size(seed: int) -> None:
    """Rows of one value have no deviation, so that the sum of squares is what is added to it."""
    rng, lanes, value = random.Random(seed), ISA.config.lanes, 3
    ones = dict.fromkeys(LOOPS, 1)
    mean = known_instruction(ISA, "ROW", {**ones, "op": 1, "scale": 256 // lanes, "to_acc": 1})
    spreads = [
        known_instruction(
            ISA,
            "ROW",
            {**ones, "op": 3, "offset": 1 << place | rng.getrandbits(place), "d_base": 1 + place, "to_acc": 1},
        )
        for place in range(ISA.by_name["ROW"].operands["offset"].bits)
    ]
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), mean, *spreads], LIMITS.dram_bytes)
    program.dram[: LIMITS.dram_bytes // 2] = value
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report


def test_a_sum_of_squares_with_all_its_bits(seed: int) -> None:
    """As far from the mean as bytes can be, so many of them that the highest of `SUM_BITS` is 1, and alone."""
    ones, far = dict.fromkeys(LOOPS, 1), {"extent_red0": 2047, "a_base": 8, "d_base": 1, "to_acc": 1}
    mean = known_instruction(ISA, "ROW", {**ones, "op": 1, "scale": 256 // ISA.config.lanes, "to_acc": 1})
    times = -(-(1 << SUM_BITS - 1) // (far["extent_red0"] * ISA.config.lanes * (255 << 6) ** 2))
    scale = ISA.by_name["ROW"].operands["scale"].values.stop - 1
    squares = known_instruction(ISA, "ROW", {**ones, **far, "op": 3, "extent_red1": times, "scale": scale})
    program = synchronised_program(ISA, seed, [*filling(ISA, LIMITS.dram_bytes), mean, squares], LIMITS.dram_bytes)
    program.dram[: LIMITS.dram_bytes // 2] = 128
    program.dram[: ISA.config.row_bytes] = 127
    mismatch = check(TIMING_DRAMS[0], Stalls()).compare(program)
    assert mismatch is None, mismatch.report
