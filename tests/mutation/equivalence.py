"""Proves that a fault is none: with it, a part of the design does the same at all its outputs, in all cycles.

Two copies of a module, one with the fault, begin in the same state and are given the same inputs, which can do
anything, but for a reset of the hardware that is too short (`miter.py`). Yosys makes one netlist of both and of the
questions whether they ever differ; ABC merges registers that are equal by induction (`scorr`), and proves what is left
(`pdr`) or finds a run in which they differ.

Modules that stand in it and memories are cut out: what comes out of them is an input, the same for both copies, and
what goes into them an output. That is sound by induction over time and over the order in which signals settle: as long
as the same goes in, the same comes out. Of memories, data that are not written need not be the same; and where the
addresses of a read differ, what is read can be anything in each copy.

Where something different goes into a module that was cut out, that module may not look at it, so it is put back.
Where the outputs themselves differ, what is around may not look at them, or never give the inputs for which they do,
so the module around is asked, and so on.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyosys

from tests.mutation.hierarchy import Hierarchy
from tests.mutation.miter import write_miter
from tests.mutation.verilog_mutants import Mutant

_ABC = Path(pyosys.__file__).parent / "yosys-abc"
_DIFFERS = re.compile(r"^Output +(\d+) was asserted in frame", re.MULTILINE)
_SUMMARY = re.compile(r"^Properties: +All = (\d+)\. Proved = (\d+)\. Disproved = (\d+)\.", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What came out.

    Attributes
    ----------
    kind : str
        `equal` for all time, `different` after some cycles, or `open`, when time or modules are at their limits.
    module : str
        Where.
    names : frozenset of str
        The modules that were there, `module` and some of those in it.
    into : frozenset of str
        Modules that were cut out and that something different goes into; with an empty name, an output differs.
    """

    kind: str
    module: str
    names: frozenset[str]
    into: frozenset[str] = frozenset()


def compare(design: Hierarchy, fault: Mutant, outer: str, names: Collection[str], seconds: int) -> Answer:
    """Compare a module with itself with a fault, or with one in a module in it; see `write_miter`.

    Parameters
    ----------
    design : Hierarchy
    fault : Mutant
    outer : str
    names : collection of str
    seconds : int
        For the proof; what comes before it takes about a second for each thousand lines.
    """
    there = frozenset(names)
    with tempfile.TemporaryDirectory() as name:
        owners = write_miter(design, fault, outer, there, Path(name))
        if owners is None:
            return Answer("open", outer, there)
        said = _asked(Path(name), seconds)
    differ = frozenset(owners[int(found[1])] for found in _DIFFERS.finditer(said))
    summary = _SUMMARY.search(said)
    questions, proved, disproved = map(int, summary.groups()) if summary else (0, 0, 0)
    if proved == questions == len(owners) and not differ:
        return Answer("equal", outer, there)
    return Answer("different" if disproved and differ else "open", outer, there, differ)


def is_equal(
    design: Hierarchy, fault: Mutant, seconds: int = 20, most_lines: int = 6000, most_seconds: int = 90
) -> Answer:
    """Ask the fault's module, with more and more of what is in and around it; return the last answer.

    Parameters
    ----------
    design : Hierarchy
    fault : Mutant
    seconds : int
        For each proof.
    most_lines : int
        That the modules have which are compared.
    most_seconds : int
        After which no other modules are asked.
    """
    around, end = design.around(fault.module), time.monotonic() + most_seconds
    answer = compare(design, fault, around[0], around[:1], seconds)
    while answer.kind == "different" and time.monotonic() < end:
        outer, names = answer.module, (answer.names | answer.into) - {""}
        if "" in answer.into and outer != around[-1]:
            outer = around[around.index(outer) + 1]
        names = names.union(*(design.between(outer, name) for name in names))
        if (outer, names) == (answer.module, answer.names) or design.lines(names) > most_lines:
            break
        answer = compare(design, fault, outer, names, seconds)
    return answer


def proof(design: Hierarchy, fault: Mutant) -> Answer:
    """Ask in a process of its own, which Yosys ends where it meets what it does not know; then nothing is proved."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(is_equal, design, fault).result()
        except BrokenProcessPool:
            return Answer("open", fault.module, frozenset())


def _asked(folder: Path, seconds: int) -> str:
    """Return what ABC says."""
    script = f"read_aiger {folder}/miter.aig; fold; strash; scorr; pdr -a -T {seconds}"
    command = [_ABC, "-c", script]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=4 * seconds, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""
