"""Compares two simulators' times of one program, and names the first instruction that differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import ProgramError
from tilewright.sim.api import LaunchResult
from tilewright.sim.decoded_program import DecodedProgram

_INSTRUCTIONS_BEFORE = 3


@dataclass(frozen=True)
class Difference:
    """Where two runs of a program part.

    Attributes
    ----------
    instruction : int or None
        The earliest instruction, by the cycle, whose start or end differs.
    counters : mapping of str to (int, int)
        Counters that differ.
    report : str
        Both, for people.
    """

    instruction: int | None
    counters: Mapping[str, tuple[int, int]]
    report: str


def compare(
    program: DecodedProgram, first: LaunchResult, second: LaunchResult, names: tuple[str, str] = ("first", "second")
) -> Difference | None:
    """Return how two results of a program differ in time, or None when they are equal.

    Parameters
    ----------
    program : DecodedProgram
    first, second : LaunchResult
        Of simulators that know time.
    names : tuple of str
        What to call the two.

    Raises
    ------
    ProgramError
        If one of the results has no times.
    """
    if first.trace is None or second.trace is None:
        raise ProgramError(f"`{names[0] if first.trace is None else names[1]}` knows no time: nothing to compare")
    starts, ends = (first.trace.start, second.trace.start), (first.trace.end, second.trace.end)
    differs = (starts[0] != starts[1]) | (ends[0] != ends[1])
    counters = {
        name: (first.counters[name], second.counters[name])
        for name in first.counters
        if name in second.counters and first.counters[name] != second.counters[name]
    }
    if not differs.any() and not counters:
        return None
    instruction = _earliest(starts, ends) if differs.any() else None
    lines = [f"{names[0]} and {names[1]} differ in time"]
    if instruction is not None:
        lines += [f"{int(differs.sum())} of {len(program)} instructions differ; the earliest:"]
        shown = range(max(0, instruction - _INSTRUCTIONS_BEFORE), instruction + 1)
        lines += [_line(program, i, starts, ends, names) for i in shown]
    lines += [f"counter {name}: {names[0]} {a}, {names[1]} {b}" for name, (a, b) in counters.items()]
    return Difference(instruction, counters, "\n".join(lines))


Pair = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _earliest(starts: Pair, ends: Pair) -> int:
    """Return the instruction of the earliest event that differs, an event being at the earlier of its two times."""
    events = np.concatenate([np.where(a != b, np.minimum(a, b), np.iinfo(np.int64).max) for a, b in (starts, ends)])
    return int(np.argmin(events)) % len(starts[0])


def _line(program: DecodedProgram, position: int, starts: Pair, ends: Pair, names: tuple[str, str]) -> str:
    times = [f"{name} {s[position]}..{e[position]}" for name, s, e in zip(names, starts, ends, strict=True)]
    return f"  {', '.join(times)}: {program.describe(position)}"
