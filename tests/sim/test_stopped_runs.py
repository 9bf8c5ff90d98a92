"""Runs that are stopped at any moment, in any way, and random programs after them: all instructions, not one layer.

The second run must leave the memory, the scratchpads and the tokens of the functional simulator, and take the cycles of
the fast one, as if nothing had been before it.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.hw.programs import PROGRAM
from tests.sim.test_faults import DECERR, ISA, SLVERR, Device, Fault, layer
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import Engine
from tilewright.isa.registers import REGISTERS, Access, Error
from tilewright.sim import control
from tilewright.sim.api import DramTiming
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.random_programs import (
    CORNERS,
    RandomProgram,
    corner_program,
    filling,
    known_instruction,
    synchronised_program,
)
from tilewright.sim.rtl.library import FaultChannel
from tilewright.sim.rtl.state import kept_parameters, read_state, read_tokens
from tilewright.sim.tokens import steps_of

pytestmark = pytest.mark.verilator

PAIRS, INSTRUCTIONS = 15, 24
WAYS = ("reset", "start", "hardware", "error")
MOST_CYCLES = 400_000
#: Cycles within which the device is idle; all bursts that may be on their way take as long in a stormy memory.
STOP_CYCLES = 6000
PAGE = 4096
CONSTANT = ("ID", "VERSION", "HASH_LOW", "HASH_HIGH")
TIMING = DramTiming(latency_cycles=20, bytes_per_cycle=ISA.config.bus_bytes, outstanding=16)

#: Scratchpads by name.
State = dict[str, NDArray[Any]]


class PlacedDevice(Device):
    """A device whose BASE is some page, and whose programs are random ones."""

    def __init__(self, fault: Fault | None, memory: str, base: int) -> None:
        super().__init__(fault, memory)
        self.limit, self.base = MOST_CYCLES, base

    def begin(self, program: RandomProgram) -> NDArray[np.uint8]:
        """Start a program; return where it and its data are."""
        self.dram[:] = 0
        room = self.dram[self.base : self.base + len(program.dram)]
        room[:] = program.dram
        control.describe_program(self.model, self.base, program.offset, program.count)
        control.start(self.model)
        return room

    def state(self, path: str) -> NDArray[np.uint8] | None:
        return self.model.memory(f"accelerator.{path}")

    def stop(self, way: str, moment: int, most_cycles: int = STOP_CYCLES) -> None:
        """Stop what runs after so many cycles; it may have ended before."""
        runs = not self.model.run(moment)
        if way == "hardware":
            self.model.reset(self.settings)
        elif way == "start" and runs:
            control.start(self.model)
            assert self.end() == (False, Error.BUSY)
        elif way == "reset":
            control.acknowledge(self.model)
            control.abandon(self.model)
            assert not runs or not self.model.run(most_cycles), "an abandoned run does not interrupt"
        control.acknowledge(self.model)
        assert not self.model.read("STATUS") & 1 and not self.model.report.violation

    def stop_in_error(self) -> bool:
        """Run into the planted error; return whether it came."""
        is_done, error = self.end()
        assert is_done or error in (Error.READ_RESPONSE, Error.WRITE_RESPONSE)
        return not is_done

    def check_run(
        self, program: RandomProgram, fast: FastSimulator | None, known: tuple[NDArray[np.uint8], State] | None = None
    ) -> None:
        """Run a program to its end and compare results, and the counters with those of the fast simulator.

        Where nothing is known of the memory and the scratchpads behind it, they are those behind it alone.
        """
        expected, state = after(program) if known is None else known
        room = self.begin(program)
        assert self.end() == (True, Error.NONE)
        assert np.array_equal(room, expected)
        assert not self.dram[: self.base].any() and not self.dram[self.base + len(room) :].any()
        found = read_state(ISA.config, self.state)
        for space, array in state.items():
            assert np.array_equal(found[space], array), f"{space} differs"
        assert read_tokens(self.state) == tokens_left(program)
        if fast is not None:
            counters = fast.launch(program.dram, program.offset, program.count).counters
            assert control.read_counters(self.model) == counters


@cache
def functional() -> FunctionalSimulator:
    return FunctionalSimulator(ISA)


@cache
def program_of(seed: int) -> RandomProgram:
    return corner_program(ISA, seed, INSTRUCTIONS)


def after(program: RandomProgram) -> tuple[NDArray[np.uint8], State]:
    """Return the memory and the scratchpads behind a program."""
    dram = program.dram.copy()
    functional().reset()
    functional().launch(dram, program.offset, program.count)
    return dram, scratchpads()


def scratchpads() -> State:
    """Return what is in the functional simulator's scratchpads, as the hardware keeps it."""
    state = functional().state
    return {**state, "prm": kept_parameters(ISA.config, state["prm"])}


def tokens_left(program: RandomProgram) -> dict[tuple[Engine, Engine], int]:
    left = {(giver, taker): 0 for giver in Engine for taker in giver.others}
    for step in steps_of(DecodedProgram.of(ISA, program.dram, program.offset, program.count)):
        for taker in step.signals:
            left[step.engine, taker] += 1
        for giver in step.waits:
            left[giver, step.engine] -= 1
    return left


@pytest.mark.parametrize("memory", ["calm", "stormy"])
@pytest.mark.parametrize("way", WAYS)
def test_a_random_program_after_one_that_was_stopped(way: str, memory: str, seed: int) -> None:
    rng = random.Random(seed)
    fast = FastSimulator(ISA, TIMING, compute_results=False)
    device = PlacedDevice(None, memory, PAGE * rng.randrange(4))
    for pair in range(PAIRS):
        first, second = (program_of(seed + 2 * pair + i) for i in range(2))
        if way == "error":
            channel = (FaultChannel.FETCH, FaultChannel.LOAD, FaultChannel.STORE)[pair % 3]
            fault = Fault(Error.NONE, channel, rng.randrange(20), rng.choice((SLVERR, DECERR)))
            device = PlacedDevice(fault, memory, PAGE * rng.randrange(4))
        cycles = fast.launch(first.dram, first.offset, first.count).counters["cycles"]
        device.begin(first)
        if way != "error":
            device.stop(way, rng.randrange(cycles))
        elif not device.stop_in_error():
            continue  # it would come in the second run
        device.check_run(second, fast if memory == "calm" else None)


def test_registers_after_a_reset_of_the_hardware() -> None:
    """What can be written, counts or was pending is zero again."""
    device = Device(Fault(Error.NONE, FaultChannel.LOAD, 1, SLVERR), "calm")
    device.dram[:] = layer().image
    constant = {name: device.model.read(name) for name in CONSTANT}
    device.start(PROGRAM, len(layer().steps))
    assert device.model.run(device.limit) and device.model.interrupt
    assert device.model.read("STATUS") >> 8 == Error.READ_RESPONSE
    for register in REGISTERS:
        if register.access is Access.READ_WRITE:
            device.model.write(register.name, 0xFFFF_FFFF)
            assert device.model.read(register.name), register.name
    device.settings.fault_channel = FaultChannel.NONE
    device.model.reset(device.settings)
    assert not device.model.interrupt
    for register in REGISTERS:
        assert device.model.read(register.name) == constant.get(register.name, 0), register.name
    device.check_next_run()


@pytest.mark.parametrize("moments", [range(4, 13), range(0, 6000, 60)], ids=["first_request", "anywhere"])
def test_nothing_is_asked_for_after_a_reset_of_the_hardware(moments: range) -> None:
    """A memory that hardly ever takes something; addresses and data that wait for it are gone with the reset."""
    device = Device(None, "stormy")
    device.settings.stall_threshold = int(0.9 * 2**32)
    for number in range(100):
        device.settings.stall_seed = number + 1
        device.model.reset(device.settings)
        device.dram[:] = layer().image
        device.start(PROGRAM, len(layer().steps))
        device.model.run(moments[number % len(moments)])
        device.model.reset(device.settings)
        device.dram[:] = 0
        assert not device.model.run(120) and not device.dram.any()
        report = device.model.report
        assert report.read_beats == report.write_beats == report.violation == 0


def test_no_address_outlives_a_reset_of_the_hardware(seed: int) -> None:
    """Stores one after another, of which the memory hardly takes an address; the next run's are the only ones then."""
    box = {"extent_run": 4, "extent0": 2, "extent1": 1, "extent2": 1, "stride0": 8, "dram_stride0": 64}
    stores = [known_instruction(ISA, "STORE_ACT", {**box, "dram_base": 256 * i, "base": 16 * i}) for i in range(8)]
    program = synchronised_program(ISA, seed, [*filling(ISA, Limits().dram_bytes), *stores], Limits().dram_bytes)
    device = PlacedDevice(None, "stormy", 0)
    device.settings.stall_threshold = int(0.9 * 2**32)
    for number in range(16):
        device.settings.stall_seed = seed + number
        device.model.reset(device.settings)
        device.begin(program)
        begin = device.model.cycle
        while not device.model.report.write_beats and device.model.cycle < begin + MOST_CYCLES:
            assert not device.model.run(10)
        assert device.model.report.write_beats
        device.model.run(1 + 3 * number)
        device.model.reset(device.settings)
        device.check_run(program, None)


def test_a_reset_of_the_hardware_while_a_store_is_answered(seed: int) -> None:
    """In the cycles around the end of stores, in which responses are matched with their bursts."""
    moving = list(CORNERS).index("moving")
    program = program_of(seed // len(CORNERS) * len(CORNERS) + moving)
    fast, device = FastSimulator(ISA, TIMING, compute_results=False), PlacedDevice(None, "calm", 0)
    code = DecodedProgram.of(ISA, program.dram, program.offset, program.count)
    stores = [i for i in range(program.count) if code.instruction(i)[0].engine is Engine.STORE]
    trace = fast.launch(program.dram, program.offset, program.count).trace
    assert trace is not None and len(stores) > 2
    for end in sorted(set(trace.end[stores]))[:3]:
        for early in range(6):
            device.begin(program)
            device.stop("hardware", int(end) - early)
            device.check_run(program, fast)
