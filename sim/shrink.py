"""Makes a program that fails small: fewer instructions, plainer operands, a calmer memory, and it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tilewright.isa.errors import TilewrightError
from tilewright.isa.fields import FieldKind
from tilewright.isa.generator import RandomInstruction
from tilewright.isa.instructions import InstructionSet
from tilewright.sim.api import DramTiming
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sim.random_programs import known_instruction, synchronised
from tilewright.sim.rtl import Stalls

#: Tells whether a trace still fails, in the same way.
Fails = Callable[[ProgramTrace], bool]


def shrink(trace: ProgramTrace, fails: Fails, *, most_runs: int = 2000) -> ProgramTrace:
    """Return a smaller trace that fails.

    Instructions are left out, in ever smaller pieces, and what is left is synchronised anew; then every operand is
    brought towards 0 or 1, as long as the instruction stays legal. Should the failure hang on the very tokens of the
    program, so that no smaller one fails, it is returned as it is.

    Parameters
    ----------
    trace : ProgramTrace
    fails : Callable
        Runs a trace; true for the one given.
    most_runs : int
        Stop after so many; what has been reached by then is returned.
    """
    return _Shrinker(trace, fails, most_runs).run()


class _Shrinker:
    def __init__(self, trace: ProgramTrace, fails: Fails, most_runs: int) -> None:
        self._isa, self._best, self._fails = trace.isa, trace, fails
        self._serial = False  # whether every instruction is made to depend on all before it
        self._runs_left = most_runs
        self._drawn = _drawn(self._isa, trace)  # the best one's instructions, without their synchronisation

    def run(self) -> ProgramTrace:
        self._calm_memory()
        if not self._synchronise_anew():
            return self._best
        size = -1
        while size != len(self._best.instructions):
            size = len(self._best.instructions)
            self._leave_out()
            self._simplify()
        return self._best

    def _synchronise_anew(self) -> bool:
        if self._accept(self._drawn, always=True):
            return True
        self._serial = True
        return self._accept(self._drawn, always=True)

    def _try(self, candidate: ProgramTrace) -> bool:
        """Keep a trace if it fails."""
        if self._runs_left <= 0:
            return False
        self._runs_left -= 1
        if self._fails(candidate):
            self._best = candidate
            return True
        return False

    def _accept(self, drawn: list[RandomInstruction], *, always: bool = False) -> bool:
        """Keep instructions, synchronised, if they fail."""
        if self._runs_left <= 0:
            return False
        written = synchronised(self._isa, drawn, self._best.dram_bytes, serial=self._serial)
        candidate = replace(self._best, instructions=tuple(written))
        if (always or candidate.instructions != self._best.instructions) and self._try(candidate):
            self._drawn = drawn
            return True
        return False

    def _calm_memory(self) -> None:
        self._try(replace(self._best, stalls=Stalls()))
        self._try(replace(self._best, timing=DramTiming()))
        if self._best.stalls.interleave:
            self._try(replace(self._best, stalls=replace(self._best.stalls, interleave=False)))

    def _leave_out(self) -> None:
        """Leave out runs of instructions: halves, quarters, and so on down to one, from the end to the beginning."""
        size = len(self._best.instructions)
        while size:
            for first in reversed(range(0, len(self._drawn), size)):
                self._accept(self._drawn[:first] + self._drawn[first + size :])
            size //= 2

    def _simplify(self) -> None:
        """Bring operands towards nothing, one at a time."""
        for place in range(len(self._best.instructions)):
            for name in self._best.instructions[place][1]:
                for value in _plainer(self._isa, *self._best.instructions[place], name):
                    if self._set(place, name, value):
                        break

    def _set(self, place: int, name: str, value: int) -> bool:
        before = self._drawn[place]
        try:
            changed = known_instruction(self._isa, before.instruction.name, {**before.values, name: value})
        except TilewrightError:
            return False
        touched = changed.footprint
        outside = [m["dram"][-1] for m in (touched.reads, touched.writes) if "dram" in m and len(m["dram"])]
        if touched.reads_own_writes or any(last >= self._best.dram_bytes for last in outside):
            return False
        return self._accept([*self._drawn[:place], changed, *self._drawn[place + 1 :]])


def _drawn(isa: InstructionSet, trace: ProgramTrace) -> list[RandomInstruction]:
    """Return a trace's instructions without their synchronisation."""
    plain = {"wait": 0, "signal": 0, "fence": 0}
    return [
        known_instruction(isa, name, {**values, **{k: v for k, v in plain.items() if k in values}})
        for name, values in trace.instructions
    ]


def _plainer(isa: InstructionSet, mnemonic: str, values: Mapping[str, int], name: str) -> Iterator[int]:
    """Yield plainer values of an operand, the plainest first."""
    f = isa.by_name[mnemonic].operands[name]
    value = values[name]
    if f.kind is FieldKind.SYNC or name == "fence" or not value:
        return
    candidates = [0, 1, 2, value // 2 // f.align * f.align, value - f.align]
    if f.signed and value < 0:
        candidates = [0, -1, -(-value // 2)]
    yield from (c for c in dict.fromkeys(candidates) if c != value and abs(c) < abs(value) and c % f.align == 0)
