"""What goes wrong on the device: by engine and place, each a documented status in time, and a next run that works.

The device is not reset between the two runs but by what its registers offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.hw.programs import DRAM_BYTES, OUTPUT, PROGRAM, Program, mask, tiled_layer
from tests.hw.row_configs import ROW_CONFIGS
from tilewright.hw.timing import DEADLOCK_CYCLES
from tilewright.isa.instructions import Engine, instruction_set
from tilewright.isa.registers import Error
from tilewright.sim import control
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import FaultChannel, MemorySettings, Model

pytestmark = pytest.mark.verilator

ISA = instruction_set(ROW_CONFIGS["tiny"])
LOAD, COMPUTE, STORE = Engine
SLVERR, DECERR = 2, 3
TILES = 4

#: Cycles within which a run ends, whatever happens; the good program takes less than a thousand in a calm memory.
MOST_CYCLES = {"calm": 4000, "stormy": 12000}
#: Cycles within which the device is idle after it was told to stop.
STOP_CYCLES = 1500

_ONES = {f"extent_{loop}": 1 for loop in ("out0", "out1", "out2", "red0", "red1", "red2")}
_BOX = {"extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1}


@dataclass(frozen=True)
class Fault:
    """What is done to a program that would work, and the status that it ends with.

    Attributes
    ----------
    error : Error
    channel, number, response
        An error response of the memory; see memory.hpp. A negative number counts from the last.
    change : Callable
        Changes the image of DRAM, program included.
    count : int
        Instructions beyond those of the program.
    offset : int or None
        Where the program is said to be.
    """

    error: Error
    channel: FaultChannel = FaultChannel.NONE
    number: int = 0
    response: int = 0
    change: Callable[[NDArray[np.uint8], int], None] = field(default=lambda image, count: None)
    count: int = 0
    offset: int = PROGRAM


@cache
def library() -> str:
    cache_of_models = Cache(user_cache() / "rtl")
    text = design_text(ISA, "accelerator", cache_of_models)
    return str(build(text, "accelerator", BuildOptions(), cache_of_models))


@cache
def layer() -> Program:
    return tiled_layer(ISA, np.random.default_rng(7), TILES)


@cache
def expected() -> NDArray[np.uint8]:
    """DRAM after the program that works."""
    return layer().expected()


class Device:
    """A model and its memory, driven through its registers."""

    def __init__(self, fault: Fault | None, memory: str) -> None:
        self.dram = np.zeros(DRAM_BYTES, np.uint8)
        self.model = Model(Path(library()))
        bus, is_calm = ISA.config.bus, memory == "calm"
        planted = fault or Fault(Error.NONE)
        self.settings = MemorySettings(
            data=self.dram.ctypes.data, bytes=len(self.dram), latency=20, beat_interval=1, outstanding=16,
            burst_beats=bus.burst_beats, reads_in_flight=bus.reads_in_flight, writes_in_flight=bus.writes_in_flight,
            stall_seed=3, stall_threshold=0 if is_calm else int(0.4 * 2**32), latency_spread=0 if is_calm else 40,
            interleave=not is_calm, fault_channel=planted.channel, fault_number=planted.number,
            fault_response=planted.response,
        )  # fmt: skip
        self.limit = MOST_CYCLES[memory]
        self.model.reset(self.settings)

    def start(self, offset: int, count: int) -> None:
        control.describe_program(self.model, 0, offset, count)
        control.start(self.model)

    def end(self) -> tuple[bool, int]:
        """Wait for the interrupt; return whether done, and the error."""
        assert self.model.run(self.limit), f"nothing after {self.limit} cycles"
        assert not self.model.report.violation, self.model.report.violation
        status = self.model.read("STATUS")
        assert not status & 1, "busy behind the end"
        assert self.model.interrupt, "the interrupt stays until it is taken back"
        control.acknowledge(self.model)
        assert not self.model.interrupt
        return bool(status & 2), status >> 8

    def check_next_run(self) -> None:
        """Run the program that works, and compare all of DRAM."""
        program = layer()
        self.dram[:] = program.image
        self.start(PROGRAM, len(program.steps))
        assert self.end() == (True, Error.NONE)
        assert np.array_equal(self.dram, expected())


def raw(name: str, values: Mapping[str, int]) -> bytes:
    """Encode an instruction without a look at whether it is legal."""
    instruction = ISA.by_name[name]
    word, shift = int(instruction.opcode), instruction.fields[0].bits
    for operand, f in instruction.operands.items():
        word |= f.pack(values.get(operand, 0)) << shift
        shift += f.bits
    return word.to_bytes(ISA.instruction_bytes, "little")


def at(place: int, data: bytes) -> Callable[[NDArray[np.uint8], int], None]:
    """Return what puts an instruction in the place of another, counted from the end if negative."""

    def change(image: NDArray[np.uint8], count: int) -> None:
        first = PROGRAM + (place % (count + 1)) * ISA.instruction_bytes
        image[first : first + len(data)] = np.frombuffer(data, np.uint8)

    return change


def behind(*instructions: bytes) -> dict[str, object]:
    """Return the arguments of a fault that is more instructions behind the program."""

    def change(image: NDArray[np.uint8], count: int) -> None:
        first, data = PROGRAM + count * ISA.instruction_bytes, b"".join(instructions)
        image[first : first + len(data)] = np.frombuffer(data, np.uint8)

    return {"change": change, "count": len(instructions)}


def encode(name: str, **values: int) -> bytes:
    return ISA.encode(name, values)


def waits(taker: Engine, giver: Engine) -> bytes:
    name = {LOAD: "LOAD_PRM", COMPUTE: "GEMM", STORE: "STORE_ACT"}[taker]
    return encode(name, wait=mask(taker, giver))


def full_counter(giver: Engine, taker: Engine) -> list[bytes]:
    """One more than the tokens that a counter holds, and nobody takes any."""
    name = {LOAD: "LOAD_PRM", COMPUTE: "GEMM", STORE: "STORE_ACT"}[giver]
    tokens = 1 << ISA.config.queue.token_bits
    ones = _ONES if giver is COMPUTE else {}
    fence = {"fence": 1} if giver is COMPUTE else {}
    first = encode(name, signal=mask(giver, taker), **ones, **fence)
    # the taker waits for something else, so that it is a standstill and not the end
    return [waits(taker, next(other for other in taker.others if other is not giver)), *[first] * (tokens + 80)]


def nothing_at_the_end(image: NDArray[np.uint8], count: int) -> None:
    """Put two instructions that do nothing before the end of the memory."""
    image[-2 * ISA.instruction_bytes :] = np.frombuffer(2 * encode("LOAD_PRM"), np.uint8)


def depthwise_rows(more: int) -> list[dict[str, int]]:
    """Rows of as many pixels as the hardware takes, and so many more: by themselves, with a kernel, every other one."""
    most = ISA.config.depthwise.columns + more
    shapes = ((most, 1, 0), (most - 2, 3, 0), ((most + 1) // 2, 2 - most % 2, 1))
    return [
        {**_ONES, "extent_out2": pixels, "extent_red2": kernel, "double_x": double, "to_acc": 1}
        for pixels, kernel, double in shapes
    ]


FAR = DRAM_BYTES + 4096
READ_CHANNELS = {"fetch": FaultChannel.FETCH, "load": FaultChannel.LOAD}
RESPONSES = {"slverr": SLVERR, "decerr": DECERR}

FAULTS: dict[str, Fault] = {
    **{
        f"{source}_{response}_beat{number}": Fault(Error.READ_RESPONSE, channel, number, code)
        for source, channel in READ_CHANNELS.items()
        for response, code in RESPONSES.items()
        for number in (0, 1, 17, 40)
    },
    **{
        f"store_{response}_burst{number}": Fault(Error.WRITE_RESPONSE, FaultChannel.STORE, number, code)
        for response, code in RESPONSES.items()
        for number in (0, 1, 3)
    },
    "program_behind_the_memory": Fault(Error.READ_RESPONSE, offset=FAR),
    "program_across_the_end": Fault(
        Error.READ_RESPONSE, change=nothing_at_the_end, offset=DRAM_BYTES - 2 * ISA.instruction_bytes
    ),
    **{
        f"{name.lower()}_behind_the_memory": Fault(
            Error.READ_RESPONSE,
            **behind(encode(name, dram_base=FAR, **{k: v for k, v in _BOX.items() if k in ISA.by_name[name].operands})),  # type: ignore[arg-type]
        )
        for name in ("LOAD_ACT", "LOAD_WGT", "LOAD_PRM", "LOAD_TBL")
    },
    "store_act_behind_the_memory": Fault(Error.WRITE_RESPONSE, **behind(encode("STORE_ACT", dram_base=FAR, **_BOX))),  # type: ignore[arg-type]
    **{
        f"opcode{opcode}_at{place}": Fault(Error.ILLEGAL_INSTRUCTION, change=at(place, bytes([opcode]) + bytes(63)))
        for opcode in (0, 7, 63)
        for place in (0, 5, -2)
    },
    **{
        f"illegal_{what}": Fault(Error.ILLEGAL_INSTRUCTION, **behind(raw(name, values)))  # type: ignore[arg-type]
        for what, name, values in (
            ("vector_operation", "VECTOR", {**_ONES, "op": 15}),
            ("row_operation", "ROW", {**_ONES, "op": 15}),
            ("row_reduction_to_act", "ROW", {**_ONES, "op": 0}),
            ("row_reduction_with_bias", "ROW", {**_ONES, "op": 1, "to_acc": 1, "bias_enable": 1}),
            ("row_mapping_with_steps", "ROW", {**_ONES, "op": 4, "extent_red2": 2}),
            *((f"depthwise_row{i}", "DEPTHWISE", longer) for i, longer in enumerate(depthwise_rows(1))),
        )
    },
    **{
        f"deadlock_{taker}_waits_for_{giver}": Fault(Error.DEADLOCK, **behind(*[waits(taker, giver)] * (TILES + 1)))  # type: ignore[arg-type]
        for taker in Engine
        for giver in taker.others
    },
    **{
        f"deadlock_{giver}_gives_{taker}_too_much": Fault(Error.DEADLOCK, **behind(*full_counter(giver, taker)))  # type: ignore[arg-type]
        for giver in Engine
        for taker in giver.others
    },
    "deadlock_behind_a_full_queue": Fault(
        Error.DEADLOCK,
        **behind(
            *[waits(COMPUTE, LOAD)] * (ISA.config.queue.compute + 2), encode("LOAD_PRM", signal=mask(LOAD, COMPUTE))
        ),  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("memory", ["calm", "stormy"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_in_its_status_and_the_next_run_works(name: str, memory: str) -> None:
    fault, program = FAULTS[name], layer()
    device = Device(fault, memory)
    device.dram[:] = program.image
    fault.change(device.dram, len(program.steps))
    device.start(fault.offset, len(program.steps) + fault.count)
    assert device.end() == (False, fault.error)
    device.check_next_run()


@pytest.mark.parametrize("memory", ["calm", "stormy"])
def test_without_a_fault_it_is_done(memory: str) -> None:
    device = Device(None, memory)
    device.check_next_run()
    device.check_next_run()


@pytest.mark.parametrize("shape", range(3))
def test_the_longest_depthwise_row_is_legal(shape: int) -> None:
    """One pixel less than the one that is refused above."""
    program, device = layer(), Device(None, "calm")
    fault = Fault(Error.NONE, **behind(raw("DEPTHWISE", depthwise_rows(0)[shape])))  # type: ignore[arg-type]
    device.dram[:] = program.image
    fault.change(device.dram, len(program.steps))
    device.start(PROGRAM, len(program.steps) + fault.count)
    assert device.end() == (True, Error.NONE)


def test_a_standstill_is_found_in_time() -> None:
    """After as many cycles without a move as machine.md says, and some for fetching the instruction."""
    device = Device(None, "calm")
    nothing_goes = waits(STORE, COMPUTE)
    device.dram[PROGRAM : PROGRAM + len(nothing_goes)] = np.frombuffer(nothing_goes, np.uint8)
    device.start(PROGRAM, 1)
    begin = device.model.cycle
    assert device.end() == (False, Error.DEADLOCK)
    fetching = device.settings.latency + ISA.instruction_bytes // ISA.config.bus_bytes
    assert fetching + DEADLOCK_CYCLES <= device.model.cycle - begin <= fetching + DEADLOCK_CYCLES + 40


MOMENTS = (0, 1, 2, 3, 7, 20, 45, 80, 150, 230, 301)


@pytest.mark.parametrize("memory", ["calm", "stormy"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_reset_in_the_middle_abandons_the_run(moment: int, memory: str) -> None:
    program, device = layer(), Device(None, memory)
    device.dram[:] = program.image
    device.start(PROGRAM, len(program.steps))
    device.model.run(moment)
    control.abandon(device.model)
    assert not device.model.run(STOP_CYCLES), "an abandoned run does not interrupt"
    assert device.model.read("STATUS") == 0
    rest = device.dram.copy()
    device.model.run(200)
    assert np.array_equal(device.dram, rest), "nothing is written after it"
    outside = np.ones(DRAM_BYTES, bool)
    outside[OUTPUT:PROGRAM] = False
    assert np.array_equal(rest[outside], program.image[outside])
    device.check_next_run()


@pytest.mark.parametrize("memory", ["calm", "stormy"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_start_while_busy_stops_the_run(moment: int, memory: str) -> None:
    program, device = layer(), Device(None, memory)
    device.dram[:] = program.image
    device.start(PROGRAM, len(program.steps))
    device.model.run(moment)
    control.start(device.model)
    assert device.end() == (False, Error.BUSY)
    device.check_next_run()


@pytest.mark.parametrize("channel", [FaultChannel.FETCH, FaultChannel.LOAD, FaultChannel.STORE], ids=lambda c: c.name)
def test_a_reset_while_an_error_drains(channel: FaultChannel) -> None:
    """Of two reasons to stop, the reset is the last: no error stays, in whichever cycle of draining it comes."""
    program = layer()
    calm = Device(Fault(Error.NONE, channel, 1, SLVERR), "calm")
    calm.dram[:] = program.image
    calm.start(PROGRAM, len(program.steps))
    begin = calm.model.cycle
    assert calm.model.run(calm.limit)
    length = calm.model.cycle - begin
    for early in (1, 2, 3, 5, 9, 17):
        device = Device(Fault(Error.NONE, channel, 1, SLVERR), "calm")
        device.dram[:] = program.image
        device.start(PROGRAM, len(program.steps))
        device.model.run(length - early)
        control.abandon(device.model)
        device.model.run(STOP_CYCLES)
        control.acknowledge(device.model)
        assert device.model.read("STATUS") == 0
        device.check_next_run()


def test_the_matrix_is_whole() -> None:
    """Every error that the table of registers knows is provoked, and every engine's part in it."""
    assert {fault.error for fault in FAULTS.values()} | {Error.NONE, Error.BUSY} == set(Error)
    channels = {(fault.channel, fault.response) for fault in FAULTS.values() if fault.channel}
    assert channels == {(c, r) for c in FaultChannel if c for r in (SLVERR, DECERR)}
