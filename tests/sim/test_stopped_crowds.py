"""Runs that are stopped while everything that can be full is, and what the engines do afterwards, each by itself.

What one of them had left would be in the way of the next instructions of its own, or keep a run of others from ending.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
import pytest

from tests.sim.test_crowds import CROWDS, LIMITS, LONG, crowd_program, drawn, signalling_program
from tests.sim.test_faults import ISA
from tests.sim.test_stopped_runs import TIMING, PlacedDevice, functional, scratchpads
from tilewright.isa.instructions import Engine
from tilewright.sim import control
from tilewright.sim.fast import FastSimulator
from tilewright.sim.random_programs import (
    RandomProgram,
    filling,
    placed_program,
    synchronised_program,
)

pytestmark = pytest.mark.verilator

WAYS = ("reset", "start", "hardware", "hardware_while_it_stops")
#: The seed of all programs, which take longer to draw than to run; moments and stalls have each test's.
PROGRAMS = 1
#: How often each is stopped; the share of cycles in which a stormy memory takes and gives nothing; the cycles in which
#: all that is on its way is done.
STOPS, SCARCE, STOP_CYCLES = 4, 0.75, 20_000
#: Before most of these moments the programs are at what they are for.
MOMENTS = range(60, 1500)

FAST = FastSimulator(ISA, TIMING, compute_results=False)


def boxes_program(name: str, seed: int) -> RandomProgram:
    """Boxes of several bursts each, more than may wait."""
    box = {"extent_run": 8, "extent0": 6, "extent1": 1, "extent2": 1, "stride0": 8, "dram_stride0": 64}
    written = [(name, ISA.by_name[name].complete({**box, "dram_base": 512 * i, "base": 16 * i})) for i in range(30)]
    return placed_program(ISA, seed, written, LIMITS.dram_bytes)


def nothing_program(engine: Engine, seed: int) -> RandomProgram:
    """Instructions that do nothing behind one that takes so long that as many wait for it as can."""
    box = {"extent_run": 40, "extent0": 60, "extent1": 1, "extent2": 1}
    long, nothing = (ISA.by_name[f"{engine.name}_ACT"].complete({**box, "extent1": runs}) for runs in (1, 0))
    written = [(f"{engine.name}_ACT", values) for values in ([long] + [nothing] * 80) * 2]
    return placed_program(ISA, seed, written, LIMITS.dram_bytes)


def long_program(name: str, operands: Mapping[str, int], seed: int) -> RandomProgram:
    return placed_program(ISA, seed, [(name, ISA.by_name[name].complete(operands))] * 12, LIMITS.dram_bytes)


def _windows() -> dict[str, int]:
    operands = ISA.by_name["DEPTHWISE"].operands
    ones = {name: 1 for name in operands if name.startswith("extent")}
    return {**ones, "extent_out1": operands["extent_out1"].values.stop - 1, "extent_out2": 100, "to_acc": 1}


#: Programs that are stopped, by what they are full of.
FULL: Mapping[str, Callable[[int], RandomProgram]] = {
    **{name: partial(crowd_program, name) for name in CROWDS},
    **{f"nothing_in_{engine}": partial(nothing_program, engine) for engine in (Engine.LOAD, Engine.STORE)},
    **{f"signals_of_{engine}": partial(signalling_program, engine) for engine in (Engine.LOAD, Engine.STORE)},
    "boxes_loaded": partial(boxes_program, "LOAD_ACT"),
    "boxes_stored": partial(boxes_program, "STORE_ACT"),
    "sums": partial(long_program, *LONG[Engine.COMPUTE]),
    "windows": partial(long_program, "DEPTHWISE", _windows()),
}
#: Those that leave the scratchpads as they are, so that stores can be the first thing afterwards.
STORES_ALONE = ("boxes_stored", f"nothing_in_{Engine.STORE}", f"signals_of_{Engine.STORE}")


@cache
def engines_alone(seed: int) -> list[RandomProgram]:
    """Return programs of one engine each: loads fill the scratchpads, sums `acc`; then windows, rows and what comes."""
    rng, (*loads, sums) = random.Random(seed), filling(ISA, LIMITS.dram_bytes)
    computes = [
        one
        for name in ("DEPTHWISE", "ROW", "GEMM")
        for one in drawn(rng, 2, lambda one, name=name: one.instruction.name == name)
    ]
    stores = drawn(rng, 4, lambda one: one.instruction.engine is Engine.STORE)
    return [synchronised_program(ISA, seed, part, LIMITS.dram_bytes) for part in (loads, [sums, *computes], stores)]


def check_engines(device: PlacedDevice, *, is_calm: bool, behind: int = 0) -> None:
    """Run the engines' programs but for the first ones, which were run before what was stopped.

    All scratchpads are known once the sums are there.
    """
    functional().reset()
    for number, program in enumerate(engines_alone(PROGRAMS)):
        dram = program.dram.copy()
        functional().launch(dram, program.offset, program.count)
        state = scratchpads() if number else {}
        if number >= behind:
            device.check_run(program, FAST if is_calm else None, (dram, state))


def stop(device: PlacedDevice, way: str, moment: int, rng: random.Random) -> None:
    if way == "hardware_while_it_stops":
        if not device.model.run(moment):
            control.start(device.model)
            device.model.run(rng.randrange(20))
        way, moment = "hardware", 0
    device.stop(way, moment, STOP_CYCLES)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FULL)
def test_engines_work_after_a_crowd_was_stopped(name: str, way: str, seed: int) -> None:
    rng, program = random.Random(seed), FULL[name](PROGRAMS)
    for memory in ("calm", "stormy"):
        device = PlacedDevice(None, memory, 0)
        for number in range(STOPS // 2):
            device.settings.stall_seed = seed + number
            device.settings.stall_threshold = 0 if memory == "calm" else int(SCARCE * 2**32)
            device.model.reset(device.settings)
            if name in STORES_ALONE:
                check_engines(device, is_calm=memory == "calm")
            device.begin(program)
            stop(device, way, rng.choice(MOMENTS) if rng.random() < 0.7 else rng.randrange(10_000), rng)
            if name in STORES_ALONE:
                check_engines(device, is_calm=memory == "calm", behind=2)
            check_engines(device, is_calm=memory == "calm")


def test_nothing_is_left_of_what_was_done() -> None:
    """A reset of the hardware takes back that a run is done, too."""
    device = PlacedDevice(None, "calm", 0)
    program = engines_alone(PROGRAMS)[0]
    device.begin(program)
    assert device.model.run(device.limit) and device.model.read("STATUS") == 2
    device.model.reset(device.settings)
    assert not device.model.interrupt and device.model.read("STATUS") == 0
    assert np.array_equal(device.dram[: program.offset], program.dram[: program.offset])
