"""Finds the first instruction after which two simulators of one program differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tilewright.compiler.graph.types import Array
from tilewright.compiler.program import Launch, Program
from tilewright.isa.assembly import format_instruction
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import LaunchResult, Simulator
from tilewright.sim.runner import run
from tilewright.sim.trace.stream import Stream

Bytes = npt.NDArray[np.uint8]

#: Makes a simulator whose scratchpads are cleared.
Maker = Callable[[], Simulator]

_ALIGNMENT = 4096
_NEIGHBOURS = 2


@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Attributes
    ----------
    space : str
        `dram`, a scratchpad, `output` (of the model, with equal memories) or `time`.
    place : int
        First byte, entry or value that differs; for `time`, the cycle on the left.
    left, right : str
        What each has there.
    count : int
        How many differ.
    instruction : int or None
        Number in the program of the first instruction after which they differ.
    layer, listing : str
        Its layer, and it and its neighbours as assembly.
    """

    space: str
    place: int
    left: str
    right: str
    count: int
    instruction: int | None = None
    layer: str = ""
    listing: str = ""

    def __str__(self) -> str:
        where = (
            f"{self.space} 0x{self.place:x}" if self.space not in ("output", "time") else f"{self.space} {self.place}"
        )
        what = f"{where}: {self.left} on the left, {self.right} on the right ({self.count} differ)"
        if self.instruction is None:
            return what
        return f"instruction {self.instruction} of layer `{self.layer}`: {what}\n{self.listing}"


@dataclass
class _Capture:
    """Memories after each launch of a run, as far as it went."""

    memories: list[dict[str, Array]] = field(default_factory=list)
    results: list[LaunchResult] = field(default_factory=list)
    outputs: Mapping[str, Array] = field(default_factory=dict)


class _Stop(Exception):
    """The run has gone as far as it should."""


class _Observer:
    """A simulator that keeps what each launch leaves, and can end a launch early.

    The activation scratchpad is read with an instruction that stores all of it behind the end of the memory; of
    simulators whose `state` can be read, all scratchpads are taken.
    """

    def __init__(self, simulator: Simulator, capture: _Capture, stop: tuple[int, int] | None) -> None:
        self.simulator, self.capture, self.stop = simulator, capture, stop

    @property
    def isa(self) -> InstructionSet:
        return self.simulator.isa

    def launch(self, dram: Bytes, offset: int, count: int) -> LaunchResult:
        is_last = self.stop is not None and self.stop[0] == len(self.capture.results)
        if self.stop is not None and is_last:
            count = self.stop[1]
        result = self.simulator.launch(dram, offset, count)
        self.capture.results.append(result)
        self.capture.memories.append({"dram": dram.copy(), **self._scratchpads(dram)})
        if is_last:
            raise _Stop
        return result

    def _scratchpads(self, dram: Bytes) -> dict[str, Array]:
        config = self.isa.config
        data = -(-len(dram) // _ALIGNMENT) * _ALIGNMENT
        size = config.act_rows * config.row_bytes
        program = data + -(-size // _ALIGNMENT) * _ALIGNMENT
        extents = {"extent_run": config.act_rows, "extent0": 1, "extent1": 1, "extent2": 1}
        words = np.frombuffer(self.isa.encode("STORE_ACT", {"dram_base": data, **extents}), np.uint8)
        memory = np.concatenate([dram, np.zeros(program + len(words) - len(dram), np.uint8)])
        memory[program:] = words
        self.simulator.launch(memory, program, 1)
        act = memory[data : data + size].view(np.int8).reshape(config.act_depth, config.atom_bytes)
        state = getattr(self.simulator, "state", None) or {}
        return {"act": act.copy(), **{name: array.copy() for name, array in state.items() if name != "act"}}


def find_difference(
    program: Program, inputs: Mapping[str, Array], left: Maker, right: Maker, *, compare_times: bool = True
) -> Difference | None:
    """Run a program on two simulators and find where they part, if they do.

    After each launch DRAM and the activation scratchpad are compared, and the other scratchpads where both simulators
    show them; then the outputs and the times of the instructions, where both know any. When memories differ, ever
    smaller beginnings of the launch are run to find the instruction after which they do: it is one before which all
    was equal.

    Parameters
    ----------
    program : Program
    inputs : mapping of str to array
    left, right : Callable
        Make simulators with cleared scratchpads.
    compare_times : bool
    """
    ones, others = _run(program, inputs, left), _run(program, inputs, right)
    for number, launch in enumerate(program.launches):
        if _first_of(ones.memories[number], others.memories[number]) is not None:
            return _bisect(program, inputs, left, right, number, launch)
    for name, array in ones.outputs.items():
        found = _compare("output", array, others.outputs[name])
        if found is not None:
            return found
    return _time_difference(program, ones, others) if compare_times else None


def _run(program: Program, inputs: Mapping[str, Array], make: Maker, stop: tuple[int, int] | None = None) -> _Capture:
    capture = _Capture()
    with suppress(_Stop):
        capture.outputs = run(program, inputs, _Observer(make(), capture, stop)).outputs
    return capture


def _bisect(
    program: Program, inputs: Mapping[str, Array], left: Maker, right: Maker, number: int, launch: Launch
) -> Difference:
    """Halve the beginning of a launch after which memories are equal, and the one after which they differ."""
    equal, different = 0, launch.count

    def difference(count: int) -> Difference | None:
        one, other = (_run(program, inputs, make, (number, count)).memories[number] for make in (left, right))
        return _first_of(one, other)

    found = difference(different)
    while different - equal > 1:
        middle = (equal + different) // 2
        at_middle = difference(middle)
        if at_middle is None:
            equal = middle
        else:
            different, found = middle, at_middle
    if found is None:
        raise AssertionError(f"launch {number} differs in one run and not in another: a simulator is not deterministic")
    return _located(program, launch, different - 1, found)


def _located(program: Program, launch: Launch, position: int, found: Difference) -> Difference:
    """Name the instruction of a difference."""
    stream = Stream.of(program, launch, instruction_set(program.config))
    lines = []
    for at in range(max(0, position - _NEIGHBOURS), min(launch.count, position + _NEIGHBOURS + 1)):
        instruction, values = stream.program.instruction(at)
        mark = "->" if at == position else "  "
        lines.append(f"{mark} {launch.first_instruction + at}: {format_instruction(instruction, values)}")
    layer = stream.layer_names[stream.layer_of[position]]
    return Difference(
        found.space, found.place, found.left, found.right, found.count,
        launch.first_instruction + position, layer, "\n".join(lines),
    )  # fmt: skip


def _first_of(one: Mapping[str, Array], other: Mapping[str, Array]) -> Difference | None:
    for space in ("act", "acc", "wgt", "prm", "tbl", "dram"):
        if space in one and space in other:
            found = _compare(space, one[space], other[space])
            if found is not None:
                return found
    return None


def _compare(space: str, one: Array, other: Array) -> Difference | None:
    """Compare two arrays; the first entry (row) that differs is shown."""
    unequal = one != other
    if space == "output":
        unequal &= (one == one) | (other == other)  # NaN is NaN
        one, other, unequal = one.ravel(), other.ravel(), unequal.ravel()
    rows = unequal.reshape(len(unequal), -1).any(axis=1) if unequal.size else np.zeros(0, bool)
    places = np.flatnonzero(rows)
    if not len(places):
        return None
    place = int(places[0])
    return Difference(space, place, _show(one[place]), _show(other[place]), len(places))


def _show(values: Array) -> str:
    return " ".join(str(value) for value in np.atleast_1d(values).ravel()[:32].tolist())


def _time_difference(program: Program, ones: _Capture, others: _Capture) -> Difference | None:
    """Compare starts and ends of all instructions, where both runs have them."""
    for launch, one, other in zip(program.launches, ones.results, others.results, strict=True):
        if one.trace is None or other.trace is None:
            continue
        unequal = (one.trace.start != other.trace.start) | (one.trace.end != other.trace.end)
        if not unequal.any():
            continue
        begins = np.where(unequal, np.minimum(one.trace.start, other.trace.start), np.iinfo(np.int64).max)
        position = int(begins.argmin())
        left, right = (f"cycles {r.trace.start[position]} to {r.trace.end[position]}" for r in (one, other) if r.trace)
        found = Difference("time", int(one.trace.start[position]), left, right, int(unequal.sum()))
        return _located(program, launch, position, found)
    return None
