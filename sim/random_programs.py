"""Random programs for verification: legal instructions from the ISA's generator, synchronised as programs must be."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.compiler.targets.accelerator.tokens import synchronise
from tilewright.isa.footprint import Entries, footprint
from tilewright.isa.generator import Limits, RandomInstruction, random_instruction
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.isa.parameter_record import RECORD_BYTES
from tilewright.isa.semantics import memories
from tilewright.sim.running_sums import adding_to, starting_sums

_PROGRAM_ALIGNMENT = 64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

#: Shifts of parameters that bring sums of most programs into eight bits, so that differences show.
_USUAL_SHIFTS = (8, 30)

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Corner:
    """What a random program leans to.

    Attributes
    ----------
    limits : Limits
        Of its instructions.
    serial : float
        Chance that every instruction depends on all before it, so that tokens go back and forth.
    again : float
        Chance that an instruction is the one before with the same operands.
    sums : float
        Chance that an instruction leaves sums, and some more add to them.
    """

    limits: Limits
    serial: float = 0.1
    again: float = 0.0
    sums: float = 0.0


#: Corners of the instruction set, by name; programs take them in turn.
CORNERS: Mapping[str, Corner] = {
    "mixed": Corner(Limits(steps=64), serial=0.25),
    "crowded": Corner(Limits(steps=24, spread=5), again=0.15),
    "empty": Corner(Limits(steps=24, nothing=0.5)),
    "chained": Corner(Limits(steps=4, spread=40, nothing=0.2), serial=1.0),
    "moving": Corner(Limits(steps=48, weights=(4, 1, 12)), again=0.1),
    "computing": Corner(Limits(steps=32, weights=(1, 12, 1)), serial=0.0, again=0.1),
    "long": Corner(Limits(steps=400, weights=(1, 4, 2))),
    "far": Corner(Limits(steps=16, largest=0.1), serial=0.1),
    "summing": Corner(Limits(steps=1500, weights=(1, 12, 1)), serial=0.0, sums=0.7),
}


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


def corner_instructions(isa: InstructionSet, seed: int, instructions: int) -> list[RandomInstruction]:
    """Return instructions that lean to one corner, chosen by the seed, after some that fill all scratchpads.

    Parameters
    ----------
    isa : InstructionSet
    seed : int
    instructions : int
        Without those that fill.
    """
    corner, rng = _corner(seed)
    drawn: list[RandomInstruction] = []
    while len(drawn) < instructions:  # a little more where sums end
        is_again = drawn and rng.random() < corner.again
        one = drawn[-1] if is_again else random_instruction(isa, rng, corner.limits)
        drawn.append(one)
        if rng.random() < corner.sums:
            drawn[-1] = starting_sums(isa, one, rng)
            for _ in range(rng.randrange(1, 4)):
                other = random_instruction(isa, rng, corner.limits)
                drawn.append(adding_to(isa, drawn[-1], other, corner.limits.steps))
    return [*filling(isa, corner.limits.dram_bytes), *drawn]


def corner_program(isa: InstructionSet, seed: int, instructions: int) -> RandomProgram:
    """Return `corner_instructions` as a program."""
    corner, _ = _corner(seed)
    is_serial = random.Random(seed ^ 1).random() < corner.serial
    drawn = corner_instructions(isa, seed, instructions)
    return synchronised_program(isa, seed, drawn, corner.limits.dram_bytes, serial=is_serial)


def _corner(seed: int) -> tuple[Corner, random.Random]:
    return list(CORNERS.values())[seed % len(CORNERS)], random.Random(seed)


def filling(isa: InstructionSet, dram_bytes: int) -> list[RandomInstruction]:
    """Return instructions that fill every scratchpad from the data, so that a program's past does not matter."""
    config = isa.config
    sizes = {f"LOAD_{space.upper()}": memories(config)[space].shape for space in ("wgt", "prm", "tbl")}
    loads = {"LOAD_ACT": (config.act_rows, config.row_bytes), **sizes}
    drawn = [
        known_instruction(isa, name, _filling_load(name, depth, entry_bytes, dram_bytes))
        for name, (depth, entry_bytes) in loads.items()
        if name in isa.by_name
    ]
    ones = {f"extent_{loop}": 1 for loop in ("out0", "out1", "red0", "red1", "red2")}
    sums = {"extent_out2": config.acc_depth, "a_out2": config.gemm.block_out // config.atom, "p_out2": 1, "d_out2": 1}
    return [*drawn, known_instruction(isa, "VECTOR", {**ones, **sums, "to_acc": 1, "bias_enable": 1})]


def _filling_load(name: str, depth: int, entry_bytes: int, dram_bytes: int) -> dict[str, int]:
    """Load a memory: parameters from the half of the data that looks like some, the others from the beginning."""
    first = dram_bytes // 2 if name == "LOAD_PRM" else 0
    run = min(depth, 1 << ((dram_bytes - first) // entry_bytes).bit_length() - 1)
    loops = {"extent1": 1, "extent2": 1} if name == "LOAD_ACT" else {}
    return {**loops, "dram_base": first, "extent_run": run, "extent0": depth // run, "stride0": run}


def known_instruction(isa: InstructionSet, name: str, values: Mapping[str, int]) -> RandomInstruction:
    """Return an instruction as if it had been drawn; operands that are left out are 0."""
    instruction = isa.by_name[name]
    complete = instruction.complete(values)
    return RandomInstruction(instruction, complete, footprint(isa, instruction.opcode, complete))


def random_data(seed: int, count: int) -> npt.NDArray[np.uint8]:
    """Return bytes that are the same everywhere and always: random ones, and then as many that look like parameters.

    In the second half the bias is small, and the shift such that sums come to eight bits.
    """
    half = count // 2 // RECORD_BYTES * RECORD_BYTES
    words = _mixed(np.uint64(seed % 2**64), -(-count // 8))
    data: npt.NDArray[np.uint8] = words.astype("<u8").view(np.uint8)[:count].copy()
    records = data[half : half + (count - half) // RECORD_BYTES * RECORD_BYTES].reshape(-1, RECORD_BYTES)
    low, high = _USUAL_SHIFTS
    records[:, 7] = records[:, 7] & 128 | (low + (records[:, 7] & 127) % (high - low))
    records[:, 2:4] = (records[:, 1:2].view(np.int8) >> 7).view(np.uint8)
    return data


def _mixed(seed: np.uint64, count: int) -> npt.NDArray[np.uint64]:
    """SplitMix64, whose values depend on the seed and their number only."""
    with np.errstate(over="ignore"):
        x = seed + (np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ x >> np.uint64(31))


def synchronised_program(
    isa: InstructionSet, seed: int, drawn: Sequence[RandomInstruction], dram_bytes: int, *, serial: bool = False
) -> RandomProgram:
    """Return instructions with the tokens and fences that their footprints ask for, behind random data.

    Parameters
    ----------
    isa : InstructionSet
    seed : int
        Of the data; see `random_data`.
    drawn : sequence of RandomInstruction
    dram_bytes : int
        Size of the data.
    serial : bool
        Make every instruction depend on all before it.
    """
    written = synchronised(isa, drawn, dram_bytes, serial=serial)
    return placed_program(isa, seed, written, dram_bytes)


def placed_program(
    isa: InstructionSet, seed: int, written: Sequence[tuple[str, Mapping[str, int]]], dram_bytes: int
) -> RandomProgram:
    """Return complete instructions behind random data."""
    words = b"".join(isa.encode(name, values) for name, values in written)
    offset = -(-dram_bytes // _PROGRAM_ALIGNMENT) * _PROGRAM_ALIGNMENT
    dram = np.concatenate([random_data(seed, offset), np.frombuffer(words, np.uint8)])
    return RandomProgram(seed, dram, offset, len(written))


def synchronised(
    isa: InstructionSet, drawn: Sequence[RandomInstruction], dram_bytes: int, *, serial: bool = False
) -> list[tuple[str, dict[str, int]]]:
    """Return names and operands of instructions, with the tokens and fences that their footprints ask for."""
    operations = [_operation(isa, one) for one in drawn]
    syncs = synchronise(_chained(operations) if serial else operations, isa.config, dram_bytes)
    return [(o.name, {**o.operands, **sync.operands(o.engine)}) for o, sync in zip(operations, syncs, strict=True)]


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
