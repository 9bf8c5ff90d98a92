"""The compiled cycle model: built once, cached by the hash of its sources, the same for all configurations."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tilewright.hw import timing
from tilewright.hw.timing import (
    act_read_cycles,
    burst_limit,
    compute_timing,
    fetch_buffer_beats,
    fetch_burst_beats,
    store_row_queue,
)
from tilewright.isa.errors import ToolchainError
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.registers import COUNTERS
from tilewright.sim.api import DramTiming
from tilewright.sim.decoded_program import Integers
from tilewright.sim.fast.table import COLUMNS, entry_bytes
from tilewright.sim.rtl.cache import Cache, content_hash
from tilewright.sim.rtl.toolchain import NATIVE, compiler_identity, find_compiler, run_tool

_HERE = Path(__file__).parent
_MAIN = "machine.cpp"
_LIBRARY = "fast.so"
_FLAGS = (
    "-std=gnu++20", "-O3", *NATIVE, "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-Bsymbolic",
)  # fmt: skip
_ENGINES, _SPACES = 3, 4

_FIELDS: tuple[tuple[str, int], ...] = (
    ("queue_depth", _ENGINES), ("token_limit", 1), ("reads_in_flight", 1), ("writes_in_flight", 1),
    ("burst_beats", 1), ("fetch_buffer_beats", 1), ("fetch_burst_beats", 1), ("instruction_beats", 1),
    ("program_beat", 1), ("box_queue", 1), ("burst_queue", 1), ("dma_in_flight", 1), ("begin_cycle", 1),
    ("compute_start", 1), ("compute_decode", 1), ("compute_latency", 1), ("act_read", 1), ("row_queue", 1),
    ("atom_shift", 1), ("address_mask", 1), ("bus_shift", 1), ("chunks", _SPACES), ("slots", _SPACES),
    ("entry_shift", _SPACES), ("latency", 1), ("beat_interval", 1), ("outstanding", 1), ("is_stepwise", 1),
)  # fmt: skip


class Parameters(ctypes.Structure):
    """Facts of configuration, hardware and memory; see common.hpp."""

    _fields_ = [(name, ctypes.c_int64 if count == 1 else ctypes.c_int64 * count) for name, count in _FIELDS]


def parameters(isa: InstructionSet, dram: DramTiming, offset: int, *, stepwise: bool = False) -> Parameters:
    """Collect what the model needs to know besides the program.

    Parameters
    ----------
    isa : InstructionSet
    dram : DramTiming
    offset : int
        Of the program, in bytes.
    stepwise : bool
        Step every part in every cycle, which checks that what is jumped over is empty.
    """
    config = isa.config
    bus, beat = config.bus, config.bus_bytes
    entries = entry_bytes(config)
    return Parameters(
        queue_depth=(config.queue.load, config.queue.compute, config.queue.store),
        token_limit=(1 << config.queue.token_bits) - 1,
        reads_in_flight=bus.reads_in_flight,
        writes_in_flight=bus.writes_in_flight,
        burst_beats=burst_limit(config),
        fetch_buffer_beats=fetch_buffer_beats(config),
        fetch_burst_beats=fetch_burst_beats(config),
        instruction_beats=isa.instruction_bytes // beat,
        program_beat=offset // beat,
        box_queue=timing.DMA_BOX_QUEUE,
        burst_queue=timing.DMA_BURST_QUEUE,
        dma_in_flight=timing.DMA_IN_FLIGHT,
        begin_cycle=timing.BEGIN_CYCLES,
        compute_start=timing.COMPUTE_START_CYCLES,
        compute_decode=timing.COMPUTE_DECODE_CYCLES,
        compute_latency=compute_timing(config).latency,
        act_read=act_read_cycles(config),
        row_queue=store_row_queue(config),
        atom_shift=config.ratio.bit_length() - 1,
        address_mask=(1 << bus.address_bits) - 1,
        bus_shift=beat.bit_length() - 1,
        chunks=tuple(max(1, size // beat) for size in entries),
        slots=tuple(max(1, beat // size) for size in entries),
        entry_shift=tuple(size.bit_length() - 1 for size in entries),
        latency=dram.latency_cycles,
        beat_interval=-(-beat // dram.bytes_per_cycle),
        outstanding=dram.outstanding,
        is_stepwise=int(stepwise),
    )


@dataclass(frozen=True, eq=False)
class Times:
    """What the model knows after a run, or at any point of one.

    Attributes
    ----------
    counters : dict of str to int
    start, end : array of int64, shape (instructions,)
        -1 where the instruction has not started or ended.
    """

    counters: dict[str, int]
    start: Integers
    end: Integers


def build(cache: Cache) -> Path:
    """Return the shared library, compiling it when the cache has none.

    Raises
    ------
    ToolchainError
        If there is no C++ compiler, it fails, or the cache cannot be written.
    """
    compiler = find_compiler()
    sources = [path.read_text() for path in sorted(_HERE.glob("*.[ch]pp"))]
    key = content_hash((compiler_identity(compiler), repr(_FLAGS), *sources))

    def make(folder: Path) -> None:
        run_tool([compiler, *_FLAGS, "-o", folder / _LIBRARY, _HERE / _MAIN], "compiling the cycle model")

    return cache.get(key, make) / _LIBRARY


class Library:
    """The functions of the shared library.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ToolchainError
        If it cannot be loaded.
    """

    def __init__(self, path: Path):
        try:
            self._functions = ctypes.CDLL(str(path))
        except OSError as error:
            raise ToolchainError(f"the compiled cycle model {path} does not load: {error}") from error
        handle, number, numbers = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
        self._create = self._functions.tilewright_create
        self._create.restype, self._create.argtypes = handle, [ctypes.POINTER(Parameters), numbers, number]
        self._destroy = self._functions.tilewright_destroy
        self._destroy.restype, self._destroy.argtypes = None, [handle]
        self._run = self._functions.tilewright_run
        self._run.restype, self._run.argtypes = ctypes.c_int32, [handle, number]
        self._result = self._functions.tilewright_result
        self._result.restype, self._result.argtypes = None, [handle, number, numbers, numbers, numbers]

    def create(self, facts: Parameters, table: Integers) -> int:
        """Return a new machine with a program; it must be destroyed."""
        rows = np.ascontiguousarray(table)
        assert rows.dtype == np.int64 and rows.shape[1] == len(COLUMNS)
        return int(self._create(ctypes.byref(facts), rows.ctypes.data, len(rows)))

    def destroy(self, machine: int) -> None:
        """Free a machine."""
        self._destroy(machine)

    def run(self, machine: int, until: int) -> bool:
        """Go on until nothing happens any more (True) or a cycle is reached (False)."""
        return bool(self._run(machine, until))

    def result(self, machine: int, count: int) -> Times:
        """Return counters and times of a machine with `count` instructions."""
        values, start, end = (np.zeros(size, np.int64) for size in (len(COUNTERS), count, count))
        self._result(machine, count, *(_address(array) for array in (values, start, end)))
        return Times({name: int(v) for (name, _), v in zip(COUNTERS, values, strict=True)}, start, end)


def _address(array: npt.NDArray[np.int64]) -> int:
    return int(array.ctypes.data)
