"""Random programs for verification: legal instructions from the ISA's generator, synchronised as programs must be."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.compiler.targets.accelerator.tokens import synchronise
from tilewright.isa.footprint import Entries
from tilewright.isa.generator import Limits, RandomInstruction, random_instruction
from tilewright.isa.instructions import Engine, InstructionSet

_PROGRAM_ALIGNMENT = 64

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class RandomProgram:
    """A program in its memory.

    Attributes
    ----------
    seed : int
    dram : array of uint8
        Random data, then the instructions.
    offset, count : int
        Where the instructions begin, and how many there are.
    """

    seed: int
    dram: npt.NDArray[np.uint8]
    offset: int
    count: int


def random_program(isa: InstructionSet, seed: int, instructions: int, limits: Limits = DEFAULT_LIMITS) -> RandomProgram:
    """Return a program that every simulator must execute with the same result.

    Parameters
    ----------
    isa : InstructionSet
    seed : int
        Equal seeds give equal programs.
    instructions : int
    limits : Limits
        Bounds of the single instructions; `dram_bytes` is the size of the data.
    """
    rng = random.Random(seed)
    drawn = [random_instruction(isa, rng, limits) for _ in range(instructions)]
    return synchronised_program(isa, seed, drawn, limits.dram_bytes, serial=rng.random() < 0.25)


def synchronised_program(
    isa: InstructionSet, seed: int, drawn: Sequence[RandomInstruction], dram_bytes: int, *, serial: bool = False
) -> RandomProgram:
    """Return instructions with the tokens and fences that their footprints ask for, behind random data.

    Parameters
    ----------
    isa : InstructionSet
    seed : int
        Of the data.
    drawn : sequence of RandomInstruction
    dram_bytes : int
        Size of the data.
    serial : bool
        Make every instruction depend on all before it.
    """
    operations = [_operation(isa, one) for one in drawn]
    syncs = synchronise(_chained(operations) if serial else operations, isa.config, dram_bytes)
    words = b"".join(
        isa.encode(o.name, {**o.operands, **sync.operands(o.engine)}) for o, sync in zip(operations, syncs, strict=True)
    )
    offset = -(-dram_bytes // _PROGRAM_ALIGNMENT) * _PROGRAM_ALIGNMENT
    data = np.random.default_rng(seed).integers(0, 256, offset, dtype=np.uint8)
    dram = np.concatenate([data, np.frombuffer(words, np.uint8)])
    return RandomProgram(seed, dram, offset, len(drawn))


def _operation(isa: InstructionSet, drawn: RandomInstruction) -> Operation:
    reads, writes = (_spans(isa, m) for m in (drawn.footprint.reads, drawn.footprint.writes))
    return Operation(drawn.instruction.name, drawn.instruction.engine, dict(drawn.values), reads, writes)


def _spans(isa: InstructionSet, entries: Mapping[str, Entries]) -> tuple[Span, ...]:
    return tuple(span for space, values in entries.items() for span in _runs(isa, space, values))


def _runs(isa: InstructionSet, space: str, values: Entries) -> list[Span]:
    """Contiguous runs; `act` in rows instead of atoms."""
    units = np.unique(values // isa.config.ratio) if space == "act" else values
    if not len(units):
        return []
    breaks = np.flatnonzero(np.diff(units) != 1) + 1
    return [(space, int(run[0]), len(run)) for run in np.split(units, breaks)]


def _chained(operations: list[Operation]) -> list[Operation]:
    """The same operations, each made to depend on all before it, so that tokens serialise them."""
    everything: Span = ("act", 0, 1)
    return [
        Operation(o.name, o.engine, o.operands, (*o.reads, everything), (*o.writes, everything))
        if o.engine is Engine.COMPUTE
        else Operation(o.name, o.engine, o.operands, o.reads, (*o.writes, everything))
        for o in operations
    ]
