"""The fast simulator: results from the functional simulator, time from the cycle model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError, ProgramError
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.sim.api import DramTiming, InstructionTrace, LaunchResult
from tilewright.sim.decoded_program import DecodedProgram, Integers
from tilewright.sim.dram_access import check_dram_accesses
from tilewright.sim.fast.library import Library, Times, build, parameters
from tilewright.sim.fast.table import program_table
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.library import Strobes
from tilewright.sim.rtl.program_view import ProgramView

#: Cycles between looks at Python's signals, so that Ctrl-C works.
SLICE_CYCLES = 20_000_000


class FastSimulator:
    """Runs programs with results, cycles and counters, all equal to those of the RTL.

    Results are those of the program in stream order, as the functional simulator gives them; a program whose tokens
    do not cover its dependencies may do something else on the RTL (`tilewright.sim.races` finds such programs).

    Parameters
    ----------
    isa : InstructionSet
    dram : DramTiming, optional
    compute_results : bool
        Without, only time is simulated, and memory is left as it is.
    max_cycles : int
        A launch that takes longer is an error that says what is stuck.
    cache : Cache, optional
        Of the compiled model; by default in the user's cache directory.
    stepwise : bool
        Simulate every cycle instead of jumping from event to event; slow, for tests of the model.

    Raises
    ------
    ToolchainError
        If the model cannot be compiled.
    """

    def __init__(
        self,
        isa: InstructionSet,
        dram: DramTiming | None = None,
        compute_results: bool = True,
        max_cycles: int = 1_000_000_000_000,
        *,
        cache: Cache | None = None,
        stepwise: bool = False,
    ):
        self.isa = isa
        self.dram = dram or DramTiming()
        self.max_cycles = max_cycles
        self._library = Library(build(cache or Cache(user_cache() / "fast")))
        self._functional = FunctionalSimulator(isa) if compute_results else None
        self._stepwise = stepwise
        self._prepared: tuple[DecodedProgram, Integers, int] | None = None

    @property
    def state(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """The scratchpads, live, as the functional simulator has them; empty without results."""
        return self._functional.state if self._functional else {}

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Execute `count` instructions that lie at byte `offset` of `dram`, changing `dram` in place.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory, holds an illegal instruction, or touches bytes outside the
            memory.
        DeviceError
            If the program comes to a standstill or takes more than `max_cycles`.
        """
        program, table = self._prepare(dram, offset, count)
        if self._functional and not dram.flags.writeable:
            raise ProgramError("the memory must be writeable")
        times = self._time(program, table, offset)
        if self._functional:
            self._functional.execute(program, dram, 0, count)
        return LaunchResult(times.counters["cycles"], times.counters, InstructionTrace(times.start, times.end))

    def _prepare(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> tuple[DecodedProgram, Integers]:
        """Decode and check a program, unless it is the last one again."""
        size = self.isa.instruction_bytes
        words = dram[offset : offset + count * size] if offset >= 0 and count >= 0 else dram[:0]
        if self._prepared is not None:
            program, table, dram_bytes = self._prepared
            if dram_bytes == len(dram) and np.array_equal(program.words.reshape(-1), words):
                return program, table
        program = DecodedProgram.of(self.isa, dram, offset, count)
        check_dram_accesses(program, len(dram))
        table = program_table(program)
        self._prepared = program, table, len(dram)
        return program, table

    def _time(self, program: DecodedProgram, table: Integers, offset: int) -> Times:
        facts = parameters(self.isa, self.dram, offset, stepwise=self._stepwise)
        machine = self._library.create(facts, table)
        try:
            is_over, until = False, 0
            while not is_over and until < self.max_cycles:
                until = min(until + SLICE_CYCLES, self.max_cycles)
                is_over = self._library.run(machine, until)
            times = self._library.result(machine, len(program))
        finally:
            self._library.destroy(machine)
        if not is_over:
            raise DeviceError(f"the program has not ended after {self.max_cycles} cycles: {_explain(program, times)}")
        if (times.end < 0).any():
            raise DeviceError(f"the accelerator stopped, deadlock: {_explain(program, times)}")
        return times


def _explain(program: DecodedProgram, times: Times) -> str:
    """Say what each engine that is not finished does."""
    header = program.words[:, :2].astype(np.int64)
    view = ProgramView(program.isa, header[:, 0] + (header[:, 1] << 8))

    def happened(cycles: Integers) -> dict[Engine, Integers]:
        return {engine: cycles[queue][cycles[queue] >= 0] for engine, queue in view.queues.items()}

    return view.explain(Strobes(happened(times.start), happened(times.end)))
