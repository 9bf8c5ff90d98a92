"""The board simulator: launches through a driver, on the RTL behind registers and a memory of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import tilewright
from tests.sim.tile_programs import tile_program
from tilewright.demo import default_model, default_samples
from tilewright.html_report import html_report
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ConfigError, DeviceError, ProgramError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.registers import Error
from tilewright.run_data import run_data
from tilewright.sim import control
from tilewright.sim.api import DramTiming
from tilewright.sim.board import BoardSimulator
from tilewright.sim.fast import FastSimulator
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import MemorySettings, Model

ISA = instruction_set(PRESETS["tiny"])
SIZE = 1 << 20
TIMING = DramTiming(latency_cycles=20, bytes_per_cycle=64)


class RtlDriver:
    """A driver whose board is the RTL, one cycle at a time."""

    base = 0x4000  # its memory begins there on the bus

    def __init__(self, isa: InstructionSet) -> None:
        cache = Cache(user_cache() / "rtl")
        self.memory = np.zeros(self.base + SIZE, np.uint8)
        self.size_bytes = SIZE
        self.model = Model(build(design_text(isa, "accelerator", cache), "accelerator", BuildOptions(), cache))
        bus = isa.config.bus
        self.model.reset(
            MemorySettings(
                data=self.memory.ctypes.data, bytes=len(self.memory), latency=20, beat_interval=1, outstanding=16,
                burst_beats=bus.burst_beats, reads_in_flight=bus.reads_in_flight,
                writes_in_flight=bus.writes_in_flight, stall_seed=1, stall_threshold=0,
            )
        )  # fmt: skip
        self.read, self.write = self.model.read, self.model.write

    def upload(self, data: NDArray[np.uint8]) -> None:
        self.memory[self.base : self.base + len(data)] = data

    def download(self, data: NDArray[np.uint8]) -> None:
        data[:] = self.memory[self.base : self.base + len(data)]

    def wait(self, seconds: float) -> bool:
        return self.model.interrupt or self.model.run(1_000_000)


@pytest.mark.verilator
def test_programs_run_through_a_driver(seed: int) -> None:
    board, fast = BoardSimulator(ISA, RtlDriver(ISA)), FastSimulator(ISA, TIMING)
    for number in range(seed, seed + 3):  # scratchpads live on from one to the next
        program = tile_program(ISA, number, 6)
        found, expected = program.dram.copy(), program.dram.copy()
        result = board.launch(found, program.offset, program.count)
        wanted = fast.launch(expected, program.offset, program.count)
        assert np.array_equal(found, expected) and not np.array_equal(found, program.dram)
        assert result.cycles == wanted.cycles and dict(result.counters) == dict(wanted.counters)
        assert result.trace is None


@pytest.mark.verilator
def test_a_model_runs_on_a_board(seed: int) -> None:
    """Outputs, cycles and counters as on `fast`; what needs the times of instructions is left out."""
    model = tilewright.compile(default_model(), "8x8")
    (inputs,), _ = default_samples(1)
    isa = instruction_set(model.config)
    result = model.run(inputs, on=BoardSimulator(isa, RtlDriver(isa)))
    expected = model.run(inputs, on="fast", dram=TIMING)
    for name, array in expected.outputs.items():
        np.testing.assert_array_equal(result.outputs[name], array)
    assert result.report.cycles == expected.report.cycles
    assert result.report.simulator == "board"
    data = run_data(model, result)
    assert data["cycles"] == expected.report.cycles and data["engines"] is None
    assert '"series":null' in html_report(model, result, data, 8.0, 100.0)


class Registers:
    """A device that takes every write, and gives what it is told to."""

    base, size_bytes = 0, 4096

    def __init__(self, isa: InstructionSet, error: int = 0, interrupts: bool = True, **values: int) -> None:
        digest = int(isa.config.hash, 16)
        known = {"ID": 0x544C5752, "HASH_LOW": digest & 0xFFFF_FFFF, "HASH_HIGH": digest >> 32}
        self.values = {**known, "STATUS": 2 | error << 8, **values}
        self.interrupts, self.written = interrupts, dict[str, int]()

    def read(self, name: str) -> int:
        return self.values.get(name, 0)

    def write(self, name: str, value: int) -> None:
        self.written[name] = value

    def upload(self, data: NDArray[np.uint8]) -> None:
        pass

    def download(self, data: NDArray[np.uint8]) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        return self.interrupts


def launch(**changes: int) -> None:
    BoardSimulator(ISA, Registers(ISA, **changes), timeout_seconds=2).launch(np.zeros(64, np.uint8), 0, 0)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: launch(ID=0xFFFFFFFF), DeviceError, "ID must read 0x544C5752, not 0xFFFFFFFF"),
        (lambda: launch(HASH_LOW=1), DeviceError, rf"built for configuration .*00000001, .* {ISA.config.hash}"),
        (lambda: launch(error=Error.WRITE_RESPONSE), DeviceError, "the accelerator stopped: write response"),
        (lambda: launch(STATUS=1), DeviceError, "interrupt without an end: STATUS is 0x00000001"),
        (lambda: launch(interrupts=False), DeviceError, "of 0 instructions has not ended after 2 s"),
        (
            lambda: BoardSimulator(ISA, Registers(ISA)).launch(np.zeros(8192, np.uint8), 0, 0),
            ProgramError,
            "needs 8192 bytes of memory, the board has 4096",
        ),
        (lambda: tilewright.simulator("dish", "tiny"), ConfigError, "`fast`, `rtl` or `board`, not `dish`"),
    ],
    ids=["no accelerator", "hash", "error", "status", "time-out", "memory", "name"],
)
def test_errors_name_what_is_wrong(act: Callable[[], None], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        act()


def test_what_does_not_end_is_abandoned() -> None:
    device = Registers(ISA, interrupts=False)
    with pytest.raises(DeviceError):
        BoardSimulator(ISA, device).launch(np.zeros(64, np.uint8), 0, 0)
    assert device.written["CONTROL"] == 2
    control.start(device)
    assert device.written["CONTROL"] == 1


def test_a_driver_is_asked_for_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_board(config: object) -> Registers:
        asked.append(config)
        return Registers(ISA)

    monkeypatch.setattr("tilewright.fpga.driver.open_board", open_board)
    assert isinstance(tilewright.simulator("board", "tiny"), BoardSimulator)
    assert asked == [PRESETS["tiny"]]
