"""One contract for every way to a board: the RTL, files in place of Linux's devices, a module in place of pynq."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fpga.emulated_device import OFFSETS, EmulatedDevice
from tests.sim.tile_programs import tile_program
from tilewright.fpga import driver
from tilewright.fpga.driver.board_driver import BoardDriver
from tilewright.fpga.driver.linux import LinuxTransport
from tilewright.fpga.driver.pynq import INSTANCE, PynqTransport
from tilewright.fpga.driver.transport import Transport
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import DeviceError, ToolchainError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.registers import ADDRESS_BITS
from tilewright.sim.board import BoardSimulator
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import MemorySettings, Model

ISA = instruction_set(PRESETS["tiny"])
OTHER = instruction_set(PRESETS["tiny"].with_values(queue={"load": 8}))
SIZE = 1 << 18
ADDRESS = 0x1000_0000


@dataclass
class ArrayBuffer:
    """Memory of this process, and how often it was synchronized."""

    array: NDArray[np.uint8]
    address: int
    syncs: list[str] = field(default_factory=list)

    def sync_to_device(self) -> None:
        self.syncs.append("device")

    def sync_from_device(self) -> None:
        self.syncs.append("processor")

    def close(self) -> None:
        pass


class RtlTransport:
    """The way to the RTL, simulated."""

    def __init__(self, isa: InstructionSet) -> None:
        cache = Cache(user_cache() / "rtl")
        self._names = {offset: name for name, offset in OFFSETS.items()}
        self._memory = np.zeros(SIZE + 4096, np.uint8)
        self._model = Model(build(design_text(isa, "accelerator", cache), "accelerator", BuildOptions(), cache))
        bus = isa.config.bus
        self._model.reset(
            MemorySettings(
                data=self._memory.ctypes.data, bytes=len(self._memory), latency=20, beat_interval=1, outstanding=16,
                burst_beats=bus.burst_beats, reads_in_flight=bus.reads_in_flight,
                writes_in_flight=bus.writes_in_flight, stall_seed=1, stall_threshold=0,
            )
        )  # fmt: skip

    def read(self, offset: int) -> int:
        return self._model.read(self._names[offset])

    def write(self, offset: int, value: int) -> None:
        self._model.write(self._names[offset], value)

    def allocate(self, size_bytes: int) -> ArrayBuffer:
        if size_bytes > SIZE:
            raise DeviceError(f"the simulated board has {SIZE} bytes, not {size_bytes}")
        return ArrayBuffer(self._memory[4096 : 4096 + size_bytes], 4096)

    def wait_interrupt(self, seconds: float) -> bool:
        return self._model.interrupt or self._model.run(2_000_000)

    def close(self) -> None:
        self._model.close()


@dataclass
class Opened:
    """A way to a board; how to take it down, and whether caches were cared for both ways."""

    transport: Transport
    close: Callable[[], None] = lambda: None
    is_synchronized: Callable[[], bool] = lambda: True


def open_rtl(folder: Path, isa: InstructionSet) -> Opened:
    return Opened(RtlTransport(isa))


def open_linux(folder: Path, isa: InstructionSet) -> Opened:
    """Put files where Linux has /dev/uio0, /dev/udmabuf0 and the latter's folder in sysfs; a FIFO for interrupts."""
    attributes = folder / "sysfs"
    attributes.mkdir()
    for name, text in (("phys_addr", f"0x{ADDRESS:016x}\n"), ("size", f"{SIZE}\n")):
        (attributes / name).write_text(text)
    registers, memory = folder / "uio0", folder / "udmabuf0"
    registers.write_bytes(bytes(1 << ADDRESS_BITS))
    memory.write_bytes(bytes(SIZE))
    interrupt = folder / "interrupt"
    os.mkfifo(interrupt)
    line = os.open(interrupt, os.O_RDWR)
    device = EmulatedDevice(
        isa,
        np.memmap(registers, np.uint32, "r+"),
        np.memmap(memory, np.uint8, "r+"),
        ADDRESS,
        lambda: os.write(line, b"\1\0\0\0") and None,
    )

    def close() -> None:
        device.close()
        os.close(line)

    def is_synchronized() -> bool:
        words = [int((attributes / f"sync_for_{owner}").read_text(), 0) for owner in ("device", "cpu")]
        return [word >> 32 for word in words] == [SIZE, SIZE] and [word >> 2 & 3 for word in words] == [1, 2]

    return Opened(LinuxTransport(registers, memory, attributes, interrupt), close, is_synchronized)


def open_pynq(folder: Path, isa: InstructionSet) -> Opened:
    registers = np.zeros((1 << ADDRESS_BITS) // 4, np.uint32)
    memory = np.zeros(SIZE, np.uint8).view(PynqArray)
    sys.modules["pynq"] = stand_in_pynq(registers, memory)
    device = EmulatedDevice(isa, registers, memory.view(np.ndarray), ADDRESS)
    bitfile = folder / "overlay.bit"
    bitfile.write_bytes(b"bits")

    def close() -> None:
        device.close()
        del sys.modules["pynq"]

    return Opened(PynqTransport(bitfile), close, lambda: memory.calls[:2] == ["flush", "invalidate"])


class PynqArray(np.ndarray):
    """What `pynq.allocate` gives."""

    device_address = ADDRESS
    calls: list[str]

    def flush(self) -> None:
        self.calls.append("flush")

    def invalidate(self) -> None:
        self.calls.append("invalidate")

    def freebuffer(self) -> None:
        self.calls.append("freebuffer")


def stand_in_pynq(registers: NDArray[np.uint32], memory: PynqArray) -> ModuleType:
    """Give a module with what the driver uses of pynq."""

    class Overlay:
        def __init__(self, bitfile: str) -> None:
            assert Path(bitfile).is_file()
            self.ip_dict = {INSTANCE: {"phys_addr": 0x43C0_0000}, "axi_intc_0": {"phys_addr": 0x4180_0000}}

        def free(self) -> None:
            pass

    class MMIO:
        def __init__(self, base: int, length: int) -> None:
            assert (base, length) == (0x43C0_0000, 1 << ADDRESS_BITS)

        def read(self, offset: int) -> int:
            return int(registers[offset // 4])

        def write(self, offset: int, value: int) -> None:
            registers[offset // 4] = value

    def allocate(shape: tuple[int, ...], dtype: type) -> PynqArray:
        if shape[0] > SIZE:
            raise RuntimeError("Failed to allocate Memory!")
        memory.calls = []
        return memory[: shape[0]]

    PynqArray.__array_finalize__ = lambda self, other: setattr(self, "calls", getattr(other, "calls", []))
    module = ModuleType("pynq")
    module.Overlay, module.MMIO, module.allocate = Overlay, MMIO, allocate  # type: ignore[attr-defined]
    return module


OPENERS = [
    pytest.param(open_rtl, id="rtl", marks=pytest.mark.verilator),
    pytest.param(open_linux, id="linux"),
    pytest.param(open_pynq, id="pynq"),
]


@pytest.fixture(params=OPENERS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    found = request.param(tmp_path, ISA)
    yield found
    found.transport.close()
    found.close()


@pytest.fixture
def transport(opened: Opened) -> Transport:
    return opened.transport


def wait_until_acknowledged(transport: Transport) -> None:
    end = time.monotonic() + 20
    while transport.read(OFFSETS["IRQ_PENDING"]):
        assert time.monotonic() < end
        time.sleep(0.002)


def test_programs_give_what_they_mean(opened: Opened, seed: int) -> None:
    transport = opened.transport
    board = BoardDriver(transport, ISA.config, SIZE)
    simulator, reference = BoardSimulator(ISA, board, 30.0), FunctionalSimulator(ISA)
    for number in range(seed, seed + 3):  # scratchpads live on from one to the next
        program = tile_program(ISA, number, 4)
        found, expected = program.dram.copy(), program.dram.copy()
        result = simulator.launch(found, program.offset, program.count)
        wanted = reference.launch(expected, program.offset, program.count)
        assert np.array_equal(found, expected) and not np.array_equal(found, program.dram)
        assert result.counters["gemm_steps"] == wanted.counters["gemm_steps"]
        wait_until_acknowledged(transport)
    assert opened.is_synchronized()


def test_another_configuration_is_refused_before_memory_is_asked_for(transport: Transport) -> None:
    with pytest.raises(DeviceError, match=f"built for configuration {ISA.config.hash}, .* for {OTHER.config.hash}"):
        BoardDriver(transport, OTHER.config, 1 << 40)


def test_too_much_memory_is_refused(transport: Transport) -> None:
    with pytest.raises(DeviceError, match=str(SIZE * 2)):
        BoardDriver(transport, ISA.config, SIZE * 2)


def test_an_overlay_without_the_accelerator_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", stand_in_pynq(np.zeros(4, np.uint32), np.zeros(4).view(PynqArray)))
    (tmp_path / "x.bit").write_bytes(b"")
    with pytest.raises(DeviceError, match="has no block `other`; it has axi_intc_0, tilewright_0"):
        PynqTransport(tmp_path / "x.bit", "other")
    with pytest.raises(DeviceError, match="there is no overlay"):
        PynqTransport(tmp_path / "y.bit")


def test_pynq_is_asked_for_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(ToolchainError, match="pip install"):
        PynqTransport(tmp_path / "x.bit")


def test_no_board_here() -> None:
    with pytest.raises(DeviceError, match="no accelerator on this machine"):
        driver.open_board(ISA.config)
