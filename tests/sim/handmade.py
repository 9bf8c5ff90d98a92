"""Streams of instructions written by hand, with times, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.trace.stream import Stream, TimedStream

ISA = instruction_set(PRESETS["tiny"])

# Bits of `wait` and `signal`: the other engines in the order load, compute, store.
LOAD_TO_COMPUTE, COMPUTE_FROM_LOAD = {"signal": 1}, {"wait": 1}
COMPUTE_TO_STORE, STORE_FROM_COMPUTE = {"signal": 2}, {"wait": 2}


def loops(**extents: int) -> dict[str, int]:
    """Give all loop extents of a compute instruction, 1 where nothing is said."""
    return {f"extent_{name}": extents.get(name, 1) for name in OUT_LOOPS + RED_LOOPS}


def box(rows: int, **others: int) -> dict[str, int]:
    """Give the operands of a load or store of so many contiguous rows."""
    return {"extent_run": rows, "extent0": 1, "extent1": 1, "extent2": 1, **others}


@dataclass(frozen=True)
class Line:
    """One instruction: mnemonic, operands, layer, label, start and end."""

    name: str
    values: Mapping[str, int]
    layer: int = 0
    label: str = ""
    start: int = 0
    end: int = 0


#: A load, a product that waits for it, a store that waits for that; then a second layer whose load overlaps the first.
LINES = (
    Line("LOAD_ACT", {**box(8), **LOAD_TO_COMPUTE}, 0, "conv1 input", 5, 40),
    Line("LOAD_WGT", {"extent_run": 4, "extent0": 1, "dram_base": 256, **LOAD_TO_COMPUTE}, 1, "conv2 weights", 8, 60),
    Line("GEMM", {**loops(out2=5, red2=4), **COMPUTE_FROM_LOAD, **COMPUTE_TO_STORE}, 0, "conv1", 41, 85),
    Line("STORE_ACT", {**box(5, dram_base=512), **STORE_FROM_COMPUTE}, 0, "conv1", 86, 110),
    Line("GEMM", {**loops(out2=6, red2=5), **COMPUTE_FROM_LOAD, "fence": 1, "d_base": 8}, 1, "conv2", 86, 140),
)

CYCLES = 142


@dataclass(frozen=True)
class Handmade:
    """A stream and its times."""

    lines: Sequence[Line] = LINES
    cycles: int = CYCLES
    layers: tuple[str, ...] = ("conv1", "conv2")
    isa: InstructionSet = field(default=ISA)

    @property
    def stream(self) -> Stream:
        """The instructions."""
        words = b"".join(self.isa.encode(line.name, line.values) for line in self.lines)
        layer_of = np.array([line.layer for line in self.lines], np.int64)
        labels = tuple(line.label for line in self.lines)
        return Stream(DecodedProgram.of_bytes(self.isa, words), layer_of, labels, self.layers)

    @property
    def timed(self) -> TimedStream:
        """The instructions with their times."""
        start, end = (np.array([getattr(line, name) for line in self.lines], np.int64) for name in ("start", "end"))
        return TimedStream(self.stream, start, end, self.cycles)
