"""The instructions of a launch with the layers they belong to, and with their times where those are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tilewright.compiler.program import Launch, Program
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set
from tilewright.sim.api import LaunchResult
from tilewright.sim.decoded_program import DecodedProgram, Integers

#: Longest name of a layer on a timeline.
NAME_CHARACTERS = 40


@dataclass(frozen=True, eq=False)
class Stream:
    """The instructions of one launch.

    Attributes
    ----------
    program : DecodedProgram
    layer_of : array of int64, shape (instructions,)
        Number of each instruction's layer.
    labels : tuple of str
        What each instruction is for.
    layer_names : tuple of str
        Of all layers of the program.
    """

    program: DecodedProgram
    layer_of: Integers
    labels: tuple[str, ...]
    layer_names: tuple[str, ...]

    @classmethod
    def of(cls, program: Program, launch: Launch, isa: InstructionSet | None = None) -> Stream:
        """Take the instructions of a launch of a program."""
        part = slice(launch.first_instruction, launch.first_instruction + launch.count)
        decoded = DecodedProgram.of(isa or instruction_set(program.config), program.dram(), launch.offset, launch.count)
        layers = program.instruction_layers[part].astype(np.int64)
        return cls(decoded, layers, program.instruction_labels[part], tuple(layer.name for layer in program.layers))

    def __len__(self) -> int:
        return len(self.program)

    @cached_property
    def queues(self) -> dict[Engine, Integers]:
        """For each engine, the positions of its instructions, in order."""
        isa, opcodes = self.program.isa, self.program.opcodes
        return {e: np.flatnonzero(np.isin(opcodes, [int(i.opcode) for i in isa.of_engine(e)])) for e in Engine}

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """A name for each instruction: layer, what is moved or computed, and its number among its like."""
        short = short_names(self.layer_names)
        seen: dict[str, int] = {}
        titles = []
        for opcode, layer, label in zip(self.program.opcodes, self.layer_of, self.labels, strict=True):
            kind = self.program.isa.by_opcode[int(opcode)].name
            purpose = label.removeprefix(self.layer_names[layer]).strip()
            like = f"{short[layer]} {purpose or kind}"
            seen[like] = seen.get(like, 0) + 1
            titles.append(f"{like} {seen[like]}")
        return tuple(titles)

    def token_givers(self, giver: Engine, taker: Engine) -> tuple[Integers, Integers]:
        """Match tokens: positions of the instructions that give, and of those that take the same tokens."""
        gives, takes = self.token_marks(giver, taker)
        count = min(len(gives), len(takes))
        return gives[:count], takes[:count]

    def token_marks(self, giver: Engine, taker: Engine) -> tuple[Integers, Integers]:
        """Return the positions of the instructions that give `taker` a token, and of those that take one."""
        return self._marked(giver, "signal", taker), self._marked(taker, "wait", giver)

    def _marked(self, engine: Engine, field: str, other: Engine) -> Integers:
        bit = engine.others.index(other)
        parts = [
            self.program.positions[i.name][self.program.operands[i.name][field] >> bit & 1 == 1]
            for i in self.program.isa.of_engine(engine)
        ]
        return np.sort(np.concatenate(parts))

    @cached_property
    def fences(self) -> Integers:
        """Whether each instruction has its fence set, 0 or 1."""
        fences = np.zeros(len(self), np.int64)
        for instruction in self.program.isa.instructions:
            if "fence" in instruction.operands:
                fences[self.program.positions[instruction.name]] = self.program.operands[instruction.name]["fence"]
        return fences


@dataclass(frozen=True, eq=False)
class TimedStream:
    """The instructions of one launch with their times.

    Attributes
    ----------
    stream : Stream
    start, end : array of int64, shape (instructions,)
        Cycles since the start of the launch.
    cycles : int
        Of the launch.
    origin : int
        Cycles of the launches before it.
    """

    stream: Stream
    start: Integers
    end: Integers
    cycles: int
    origin: int = 0


def streams_of(program: Program) -> tuple[Stream, ...]:
    """Return the instructions of every launch of a program."""
    isa = instruction_set(program.config)
    return tuple(Stream.of(program, launch, isa) for launch in program.launches)


def timed_streams(program: Program, results: Sequence[LaunchResult]) -> tuple[TimedStream, ...]:
    """Return the instructions of every launch with the times that a run gave.

    Raises
    ------
    ProgramError
        If the run has no times (the functional simulator knows none), or is not of this program.
    """
    if len(results) != len(program.launches):
        raise ProgramError(f"the program has {len(program.launches)} launches, the run has {len(results)}")
    timed: list[TimedStream] = []
    origin = 0
    for stream, result in zip(streams_of(program), results, strict=True):
        if result.trace is None or result.cycles is None:
            raise ProgramError("the run has no times: run on a simulator that counts cycles, such as rtl")
        if len(result.trace.start) != len(stream):
            raise ProgramError(f"the launch has {len(stream)} instructions, the trace {len(result.trace.start)}")
        timed.append(TimedStream(stream, result.trace.start, result.trace.end, result.cycles, origin))
        origin += result.cycles
    return tuple(timed)


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Shorten the names of layers for people; they stay different from each other.

    Exporters join the names of all nodes that they fused by `;`, and put folders before each: of the last one its last
    two parts are kept, or three, or four, where two layers would have the same name; then they are numbered.
    """
    short = [_short_name(name, 2) for name in names]
    for parts in (3, 4):
        short = [_short_name(names[i], parts) if short.count(name) > 1 else name for i, name in enumerate(short)]
    return tuple(f"{name} ({number})" if short.count(name) > 1 else name for number, name in enumerate(short))


def _short_name(name: str, parts: int) -> str:
    whole = name.split(";")[-1].removesuffix("_prequant").strip("/").split("/")
    short = "/".join(whole[-parts:]) or name
    return short if len(short) <= NAME_CHARACTERS else f"…{short[1 - NAME_CHARACTERS :]}"
