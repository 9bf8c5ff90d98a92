"""The RTL simulator: the accelerator's Verilog, compiled, with a deterministic memory behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError, ProgramError
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.isa.registers import Error
from tilewright.sim import control
from tilewright.sim.api import DramTiming, InstructionTrace, LaunchResult
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.dram_access import check_dram_accesses
from tilewright.sim.rtl.build import BuildOptions, Progress, build, silent
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import FaultChannel, MemorySettings, Model, Violation
from tilewright.sim.rtl.program_view import ProgramView
from tilewright.sim.rtl.state import read_queues, read_state, read_tokens

#: Cycles between looks at Python's signals, so that Ctrl-C works.
SLICE_CYCLES = 100_000

_TOP = "accelerator"


@dataclass(frozen=True)
class Stalls:
    """How the memory behaves at random, for verification.

    Attributes
    ----------
    probability : float
        Of a stall in a cycle, on each channel; in [0, 1).
    seed : int
        The same seed gives the same behaviour.
    latency_spread : int
        Each burst's latency is longer by a random number of cycles up to this.
    interleave : bool
        Beats of fetch and load come in any order, those of each in theirs.
    """

    probability: float = 0.0
    seed: int = 1
    latency_spread: int = 0
    interleave: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.probability < 1:
            raise ProgramError(f"the probability of stalls must be in [0, 1), not {self.probability}")
        if self.latency_spread < 0:
            raise ProgramError(f"the spread of latencies must be at least 0, not {self.latency_spread}")


class RtlSimulator:
    """Runs programs on the Verilated accelerator; compiled once per design and toolchain, then cached.

    The scratchpads keep their contents between launches; everything else is reset at each. After `max_cycles` all is
    as it stands then: scratchpads, queues and tokens can be looked at.

    Parameters
    ----------
    isa : InstructionSet
        What the accelerator is generated from.
    dram : DramTiming, optional
    trace_file : path, optional
        Write waveforms (FST) here; the second and later launches write to `name.2.fst` and so on.
    max_cycles : int
        A launch that takes longer is an error that says what is stuck.
    threads : int
        Threads that evaluate the model.
    trace_cycles : tuple of int, optional
        First cycle and the one behind the last for waveforms, counted from a launch's start as its times are; in the
        file, cycle c is at time 2c. By default all.
    stalls : Stalls, optional
    progress : Callable, optional
        Told about the steps of a build.
    cache : Cache, optional
        Of compiled models; by default in the user's cache directory.
    verilog : str, optional
        Simulate this text (a netlist, say) with its top module `top` instead of generating it.
    check_programs : bool
        Refuse programs that are wrong by themselves before they run, as the other simulators do; without, it is the
        hardware that meets illegal instructions and addresses outside the memory.

    Raises
    ------
    ToolchainError
        If the model cannot be compiled.
    """

    def __init__(
        self,
        isa: InstructionSet,
        dram: DramTiming | None = None,
        trace_file: str | Path | None = None,
        max_cycles: int = 1_000_000_000,
        threads: int = 1,
        *,
        trace_cycles: tuple[int, int] | None = None,
        stalls: Stalls | None = None,
        progress: Progress = silent,
        cache: Cache | None = None,
        verilog: str | None = None,
        top: str = _TOP,
        check_programs: bool = True,
    ):
        self.isa = isa
        self.dram = dram or DramTiming()
        self.max_cycles = max_cycles
        self._stalls = stalls or Stalls()
        self._trace_file = Path(trace_file) if trace_file is not None else None
        self._trace_cycles = trace_cycles or (0, 2**63)
        self._launches = 0
        self._top = top
        self._check_programs = check_programs
        cache = cache or Cache(user_cache() / "rtl")
        if verilog is None:
            progress("generating Verilog", 0, 1)
            verilog = design_text(isa, top, cache)
        options = BuildOptions(threads=threads, waves=trace_file is not None)
        self._path, self._threads = build(verilog, top, options, cache, progress), threads
        self._model = Model(self._path, threads)

    def reset(self) -> None:
        """Set all scratchpads to zero, as they are at first."""
        self._model.close()
        self._model = Model(self._path, self._threads)

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Run a program that lies in memory, changing the memory in place.

        Parameters
        ----------
        dram : array of uint8, contiguous
            All of the memory; BASE is its first byte.
        offset : int
            Byte offset of the first instruction, a multiple of 64.
        count : int
            Number of instructions.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory, holds an illegal instruction, or touches bytes outside the
            memory.
        DeviceError
            If the accelerator stops with an error, takes more than `max_cycles`, or breaks the bus protocol.
        """
        self._check(dram, offset, count)
        view = ProgramView.of(self.isa, dram, offset, count)
        self._model.reset(self._settings(dram))
        control.check_identity(self._model, self.isa.config)
        control.describe_program(self._model, 0, offset, count)
        self._open_waves()
        try:
            origin = (control.start(self._model) or 0) + 1
            self._run(view, origin)
        finally:
            self._model.close_waves()
        return self._result(view, origin, count)

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Copies of the scratchpads `act`, `wgt`, `acc`, `prm`, `tbl`, shaped as `semantics.memories` says.

        Bits of `prm` that no instruction looks at are not kept: compare with `state.kept_parameters`.
        """
        return read_state(self.isa.config, self._read)

    @property
    def queues(self) -> Mapping[Engine, int]:
        """How many instructions stand in each engine's queue; the device clears them when it ends, or stops."""
        return read_queues(self._read)

    @property
    def tokens(self) -> Mapping[tuple[Engine, Engine], int]:
        """The tokens given and not taken, by giver and taker."""
        return read_tokens(self._read)

    def _read(self, path: str) -> npt.NDArray[np.uint8] | None:
        return self._model.memory(f"{self._top}.{path}")

    def close(self) -> None:
        """Free the model; the simulator cannot be used afterwards."""
        self._model.close()

    def _check(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> None:
        program = DecodedProgram.unchecked(self.isa, dram, offset, count)
        if not dram.flags.writeable:
            raise ProgramError("the memory must be writeable")
        if self._check_programs:
            program.check()
            check_dram_accesses(program, len(dram))

    def _settings(self, dram: npt.NDArray[np.uint8]) -> MemorySettings:
        bus = self.isa.config.bus
        return MemorySettings(
            data=dram.ctypes.data,
            bytes=len(dram),
            latency=self.dram.latency_cycles,
            beat_interval=-(-self._model.beat_bytes // self.dram.bytes_per_cycle),
            outstanding=self.dram.outstanding,
            burst_beats=bus.burst_beats,
            reads_in_flight=bus.reads_in_flight,
            writes_in_flight=bus.writes_in_flight,
            stall_seed=self._stalls.seed,
            stall_threshold=int(self._stalls.probability * 2**32),
            latency_spread=self._stalls.latency_spread,
            interleave=self._stalls.interleave,
            fault_channel=FaultChannel.NONE,
        )

    def _open_waves(self) -> None:
        self._launches += 1
        if self._trace_file is None:
            return
        path = self._trace_file
        if self._launches > 1:
            path = path.with_name(f"{path.stem}.{self._launches}{path.suffix}")
        self._model.open_waves(path, *self._trace_cycles)

    def _run(self, view: ProgramView, origin: int) -> None:
        model, end = self._model, origin + self.max_cycles
        while not (model.interrupt or model.run(min(SLICE_CYCLES, max(end - model.cycle, 0)))):
            if model.cycle >= end:
                standstill = view.explain(model.strobes)
                raise DeviceError(f"the program has not ended after {self.max_cycles} cycles: {standstill}")
        self._check_protocol()
        self._check_status(view)

    def _check_protocol(self) -> None:
        report = self._model.report
        if report.violation:
            kind = Violation(report.violation).name.lower().replace("_", " ")
            raise DeviceError(
                f"the accelerator broke the bus protocol in cycle {report.violation_cycle}: {kind}, "
                f"address 0x{report.violation_address:x}"
            )

    def _check_status(self, view: ProgramView) -> None:
        error = control.read_error(self._model)
        if error:
            name = control.error_name(error)
            raise DeviceError(f"the accelerator stopped, {name}: {self._describe(error, view)}")

    def _describe(self, error: int, view: ProgramView) -> str:
        report, illegal = self._model.report, view.first_illegal
        if error == Error.ILLEGAL_INSTRUCTION and illegal is not None:
            return view.name(illegal)
        if error in (Error.READ_RESPONSE, Error.WRITE_RESPONSE) and report.read_errors + report.write_errors:
            return f"0x{report.first_error:x} lies behind the end of the memory; {view.explain(self._model.strobes)}"
        return view.explain(self._model.strobes)

    def _result(self, view: ProgramView, origin: int, count: int) -> LaunchResult:
        counters = control.read_counters(self._model)
        strobes = self._model.strobes
        start, end = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for engine in Engine:
            queue = view.queues[engine]
            if len(strobes.start[engine]) != len(queue) or len(strobes.finish[engine]) != len(queue):
                raise DeviceError(f"the program ended early: {view.explain(strobes)}")
            start[queue] = strobes.start[engine] - origin
            end[queue] = strobes.finish[engine] - origin
        return LaunchResult(counters["cycles"], counters, InstructionTrace(start, end))
