"""The meaning of instructions over NumPy arrays, through the reference interpreter."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.tir.interpreter import interpret, new_array
from tilewright.isa.generator import Limits, RandomInstruction, random_instruction
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.isa.semantics import memories

Memories = dict[str, NDArray]


def random_memories(isa: InstructionSet, rng: np.random.Generator, dram_bytes: int) -> Memories:
    """Return every architectural memory filled with random bytes."""
    arrays = {name: new_array(buffer) for name, buffer in memories(isa.config, dram_bytes).items()}
    for array in arrays.values():
        array.view(np.uint8)[...] = rng.integers(0, 256, array.view(np.uint8).shape, np.uint8)
    return arrays


def execute(isa: InstructionSet, name: str, values: Mapping[str, int], arrays: Memories) -> None:
    """Execute one instruction, changing `arrays`."""
    instruction = isa.by_name[name]
    complete = instruction.complete(values)
    interpret(instruction.function(memories(isa.config, len(arrays["dram"]))), complete, arrays)


def draw_of_engine(isa: InstructionSet, engine: Engine, rng: random.Random, limits: Limits) -> RandomInstruction:
    """Draw random instructions until one is of `engine`."""
    while True:
        drawn = random_instruction(isa, rng, limits)
        if drawn.instruction.engine is engine:
            return drawn
