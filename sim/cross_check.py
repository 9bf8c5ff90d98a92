"""Runs a program on the functional simulator, the fast one and the RTL, and says how they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.sim.api import DramTiming, LaunchResult
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.fast.compare import compare
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sim.random_programs import RandomProgram
from tilewright.sim.rtl import RtlSimulator, Stalls
from tilewright.sim.rtl.state import kept_parameters
from tilewright.sim.tokens import steps_of

State = Mapping[str, npt.NDArray[Any]]

#: Makes the RTL simulator of an instruction set.
RtlMaker = Callable[[InstructionSet, DramTiming, Stalls], RtlSimulator]

#: More than any program takes that is compared here.
MAX_CYCLES = 20_000_000


@dataclass(frozen=True)
class Mismatch:
    """How two simulators differ.

    Attributes
    ----------
    kind : str
        `state` (a memory), `time` (cycles, starts, ends, counters), `tokens` or `error`.
    report : str
    """

    kind: str
    report: str


def make_rtl(isa: InstructionSet, timing: DramTiming, stalls: Stalls) -> RtlSimulator:
    """Return the RTL simulator as it is usually made."""
    return RtlSimulator(isa, timing, stalls=stalls, max_cycles=MAX_CYCLES)


class CrossCheck:
    """Runs programs of one configuration on all simulators, from scratchpads of zeros, and compares.

    Parameters
    ----------
    isa : InstructionSet
    timing : DramTiming
    stalls : Stalls
        Of a second run on the RTL, whose results are compared and whose times are not; none when it is `Stalls()`.
    make : Callable
        Makes RTL simulators; another one plants faults, in tests.
    """

    def __init__(self, isa: InstructionSet, timing: DramTiming, stalls: Stalls, make: RtlMaker = make_rtl) -> None:
        self.isa = isa
        self._functional = FunctionalSimulator(isa)
        self._fast = FastSimulator(isa, timing, compute_results=False, max_cycles=MAX_CYCLES)
        self._rtl = {"rtl": make(isa, timing, Stalls())}
        if stalls != Stalls():
            self._rtl["rtl under stalls"] = make(isa, timing, stalls)

    @classmethod
    def of(cls, trace: ProgramTrace, make: RtlMaker = make_rtl) -> CrossCheck:
        """Return what a trace asks for."""
        return cls(trace.isa, trace.timing, trace.stalls, make)

    def compare(self, program: RandomProgram) -> Mismatch | None:
        """Return the first difference, or None when all agree."""
        expected, state = self._expected(program)
        for name, rtl in self._rtl.items():
            dram = program.dram.copy()
            rtl.reset()
            try:
                result = rtl.launch(dram, program.offset, program.count)
            except DeviceError as error:
                return Mismatch("error", f"{name}: {error}")
            found = (
                _memory_difference(name, {"dram": expected, **state}, {"dram": dram, **rtl.state})
                or self._token_difference(program, name, rtl)
                or (self._time_difference(program, result) if name == "rtl" else None)
            )
            if found:
                return found
        return None

    def _expected(self, program: RandomProgram) -> tuple[npt.NDArray[np.uint8], State]:
        dram = program.dram.copy()
        self._functional.reset()
        self._functional.launch(dram, program.offset, program.count)
        state = self._functional.state
        return dram, {**state, "prm": kept_parameters(self.isa.config, state["prm"])}

    def _time_difference(self, program: RandomProgram, result: LaunchResult) -> Mismatch | None:
        found = self._fast.launch(program.dram, program.offset, program.count)
        code = DecodedProgram.of(self.isa, program.dram, program.offset, program.count)
        difference = compare(code, result, found, ("rtl", "fast"))
        return Mismatch("time", difference.report) if difference else None

    def _token_difference(self, program: RandomProgram, name: str, rtl: RtlSimulator) -> Mismatch | None:
        """Compare the tokens left with those given and not taken."""
        left = {(giver, taker): 0 for giver in Engine for taker in giver.others}
        for step in steps_of(DecodedProgram.of(self.isa, program.dram, program.offset, program.count)):
            for taker in step.signals:
                left[step.engine, taker] += 1
            for giver in step.waits:
                left[giver, step.engine] -= 1
        wrong = [f"{g} to {t}: {rtl.tokens[g, t]}, not {n}" for (g, t), n in left.items() if rtl.tokens[g, t] != n]
        return Mismatch("tokens", f"{name} has tokens left, {'; '.join(wrong)}") if wrong else None


def _memory_difference(name: str, expected: State, found: State) -> Mismatch | None:
    for space, array in expected.items():
        if np.array_equal(array, found[space]):
            continue
        places = np.argwhere(array != found[space])
        at = tuple(places[0])
        return Mismatch(
            "state",
            f"{space}[{', '.join(map(str, at))}] is {found[space][at]} on {name} and {array[at]} on functional "
            f"({len(places)} differ)",
        )
    return None


def check_trace(trace: ProgramTrace, make: RtlMaker = make_rtl) -> Mismatch | None:
    """Run a trace on all simulators; return how they differ, None when they do not."""
    return CrossCheck.of(trace, make).compare(trace.program())


def with_note(trace: ProgramTrace, mismatch: Mismatch) -> ProgramTrace:
    """Return the trace with what was seen."""
    return replace(trace, note=mismatch.report)
