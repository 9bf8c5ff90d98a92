"""A compiled model in this process: the Python side of harness.cpp's C interface."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError, ToolchainError
from tilewright.isa.instructions import Engine
from tilewright.isa.registers import REGISTERS

_OFFSETS: Mapping[str, int] = {register.name: register.offset for register in REGISTERS}
_MASK = 0xFFFF_FFFF


class Violation(IntEnum):
    """How the accelerator can break the bus protocol; the same numbers stand in memory.hpp."""

    NONE = 0
    READ_ADDRESS = 1
    READ_WITHDRAWN = 2
    READS_IN_FLIGHT = 3
    WRITE_ADDRESS = 4
    WRITE_WITHDRAWN = 5
    WRITES_IN_FLIGHT = 6
    WRITE_LAST = 7
    WRITE_DATA_WITHDRAWN = 8


class FaultChannel(IntEnum):
    """Where the memory can answer with an error; the same numbers stand in memory.hpp."""

    NONE = 0
    FETCH = 1
    LOAD = 2
    STORE = 3


class MemorySettings(ctypes.Structure):
    """How the memory behaves; see memory.hpp."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        *(
            (name, ctypes.c_uint64)
            for name in (
                "bytes", "latency", "beat_interval", "outstanding", "burst_beats", "reads_in_flight",
                "writes_in_flight", "stall_seed", "stall_threshold", "latency_spread", "interleave", "fault_channel",
                "fault_number", "fault_response",
            )
        ),
    ]  # fmt: skip


class MemoryReport(ctypes.Structure):
    """What the memory saw; see memory.hpp."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "read_beats", "write_beats", "read_errors", "write_errors", "first_error", "violation", "violation_cycle",
            "violation_address",
        )
    ]  # fmt: skip

    read_beats: int
    write_beats: int
    read_errors: int
    write_errors: int
    first_error: int
    violation: int
    violation_cycle: int
    violation_address: int


@dataclass(frozen=True)
class Strobes:
    """When each engine started and finished its instructions, in queue order, in cycles of the model."""

    start: Mapping[Engine, npt.NDArray[np.int64]]
    finish: Mapping[Engine, npt.NDArray[np.int64]]


class Model:
    """One instance of a compiled model.

    Parameters
    ----------
    path : Path
        The shared library.
    threads : int
        As the library was built for.

    Raises
    ------
    ToolchainError
        If the library cannot be loaded.
    """

    def __init__(self, path: Path, threads: int = 1):
        self._handle: int | None = None
        try:
            self._library = ctypes.CDLL(str(path))  # its symbols stay its own: RTLD_LOCAL is the default
        except OSError as error:
            raise ToolchainError(f"the compiled model {path} does not load: {error}") from error
        self._declare()
        self._handle = self._library.tilewright_create(threads)

    def _declare(self) -> None:
        handle, number, count = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
        signatures: dict[str, tuple[object, tuple[object, ...]]] = {
            "create": (handle, (number,)),
            "destroy": (None, (handle,)),
            "beat_bytes": (count, ()),
            "reset": (None, (handle, ctypes.POINTER(MemorySettings))),
            "write": (ctypes.c_int64, (handle, number, number)),
            "read": (ctypes.c_int64, (handle, number)),
            "run": (ctypes.c_int32, (handle, count)),
            "cycle": (count, (handle,)),
            "interrupt": (ctypes.c_int32, (handle,)),
            "report": (None, (handle, ctypes.POINTER(MemoryReport))),
            "open_waves": (None, (handle, ctypes.c_char_p, count, count)),
            "close_waves": (None, (handle,)),
            "write_coverage": (None, (handle, ctypes.c_char_p)),
            "memory": (handle, (handle, ctypes.c_char_p, ctypes.POINTER(count), ctypes.POINTER(count))),
            "strobes": (count, (handle, number, ctypes.POINTER(ctypes.POINTER(count)))),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._library, f"tilewright_{name}")
            function.restype, function.argtypes = result, list(arguments)

    def close(self) -> None:
        """Free the model; it cannot be used afterwards."""
        if self._handle is not None:
            self._library.tilewright_destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()

    @property
    def beat_bytes(self) -> int:
        """Bytes in one beat of the memory port."""
        return int(self._library.tilewright_beat_bytes())

    @property
    def cycle(self) -> int:
        """Clock cycles since the model was made."""
        return int(self._library.tilewright_cycle(self._handle))

    @property
    def interrupt(self) -> bool:
        """Whether the interrupt line is high."""
        return bool(self._library.tilewright_interrupt(self._handle))

    @property
    def report(self) -> MemoryReport:
        """What the memory saw since the last reset."""
        report = MemoryReport()
        self._library.tilewright_report(self._handle, ctypes.byref(report))
        return report

    @property
    def strobes(self) -> Strobes:
        """What the trace outputs said since the last reset."""
        lists = iter([self._strobe(which) for which in range(2 * len(Engine))])
        start, finish = {}, {}
        for engine in Engine:
            start[engine], finish[engine] = next(lists), next(lists)
        return Strobes(start, finish)

    def _strobe(self, which: int) -> npt.NDArray[np.int64]:
        pointer = ctypes.POINTER(ctypes.c_uint64)()
        count = self._library.tilewright_strobes(self._handle, which, ctypes.byref(pointer))
        if not count:
            return np.zeros(0, np.int64)
        return np.ctypeslib.as_array(pointer, (count,)).astype(np.int64)

    def memory(self, path: str) -> npt.NDArray[np.uint8] | None:
        """Return a copy of one of the design's memories, `[words, bytes]`, by its path; None when there is none."""
        words, word_bytes = ctypes.c_uint64(), ctypes.c_uint64()
        pointer = self._library.tilewright_memory(
            self._handle, path.encode(), ctypes.byref(words), ctypes.byref(word_bytes)
        )
        if pointer is None:
            return None
        data = ctypes.string_at(pointer, words.value * word_bytes.value)
        return np.frombuffer(data, np.uint8).reshape(words.value, word_bytes.value).copy()

    def reset(self, settings: MemorySettings) -> None:
        """Reset the accelerator (not its scratchpads) and attach a memory, whose array must outlive its use."""
        self._library.tilewright_reset(self._handle, ctypes.byref(settings))

    def write(self, name: str, value: int) -> int:
        """Write a register by name; return the cycle in which it took the value."""
        cycle = int(self._library.tilewright_write(self._handle, _OFFSETS[name], value & _MASK))
        if cycle < 0:
            raise DeviceError(f"register {name} does not answer a write")
        return cycle

    def read(self, name: str) -> int:
        """Read a register by name."""
        value = int(self._library.tilewright_read(self._handle, _OFFSETS[name]))
        if value < 0:
            raise DeviceError(f"register {name} does not answer a read")
        return value

    def run(self, cycles: int) -> bool:
        """Run until the interrupt or a violation of the protocol (True), or for so many cycles (False)."""
        return bool(self._library.tilewright_run(self._handle, cycles))

    def open_waves(self, path: Path, first: int, last: int) -> None:
        """Write waveforms of cycles `first` to `last` (exclusive), from the next register write on, to an FST file."""
        try:
            path.open("wb").close()
        except OSError as error:
            raise DeviceError(f"cannot write waveforms to {path}: {error.strerror}") from error
        self._library.tilewright_open_waves(self._handle, str(path).encode(), first, last)

    def close_waves(self) -> None:
        """Finish the waveform file."""
        self._library.tilewright_close_waves(self._handle)

    def write_coverage(self, path: Path) -> None:
        """Write which lines and bits were used so far, of a model that was built to count them."""
        self._library.tilewright_write_coverage(self._handle, str(path).encode())
