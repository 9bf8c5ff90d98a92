"""Runs a tile twice, its nest on views of the memories and its instructions by their semantics, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.accelerator.nests import Tile, TileTensorizer
from tilewright.compiler.tir.interpreter import ARRAY_TYPES, interpret
from tilewright.compiler.tir.tensorize import InstructionCall
from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.ir import Buffer, Function
from tilewright.isa.semantics import memories

Memories = dict[str, NDArray[Any]]

DRAM_BYTES = 1 << 15

TINY = Config.load("tiny")
CONFIGS = {
    "4x4": TINY,
    "4x8": TINY.with_values(gemm={"block_in": 4, "block_out": 8}),
    "8x4": TINY.with_values(gemm={"block_in": 8, "block_out": 4}),
    "batch2": TINY.with_values(gemm={"batch": 2}),
    "4x16 batch2 acc24": TINY.with_values(
        gemm={"block_in": 4, "block_out": 16, "batch": 2, "acc_bits": 24},
        memory={"act_kib": 16, "wgt_kib": 32, "acc_kib": 8},
        epilogue={"multiplier_bits": 12},
    ),
    "plain epilogue": TINY.with_values(epilogue={"residual": False, "tables": 0}, vector={"multiply": False}),
}


def random_memories(config: Config, rng: np.random.Generator) -> Memories:
    """Fill every memory with random bytes."""
    result: Memories = {}
    for space, buffer in memories(config, DRAM_BYTES).items():
        kind = ARRAY_TYPES[buffer.dtype]
        info = np.iinfo(kind)
        result[space] = rng.integers(info.min, info.max, buffer.shape, kind, endpoint=True)
    result["prm"].reshape(-1, 8)[:, 7] = rng.integers(0, 40, result["prm"].size // 8)
    return result


def view(mem: Memories, buffer: Buffer, entry: int) -> NDArray[Any]:
    """Return the logical buffer that begins at an entry, as a view of its memory."""
    memory = mem[buffer.space]
    start = entry * int(np.prod(memory.shape[1:], dtype=int))
    size = int(np.prod(buffer.shape, dtype=int))
    flat = memory.reshape(-1)
    assert start + size <= flat.size, f"{buffer.name} does not fit into {buffer.space}"
    return flat[start : start + size].reshape(buffer.shape)


def run_nest(nest: Function, placement: Mapping[str, int], mem: Memories) -> None:
    """Interpret a nest on the memories."""
    interpret(nest, {}, {b.name: view(mem, b, placement[b.name]) for b in nest.buffers})


def run_calls(isa: InstructionSet, calls: list[InstructionCall], mem: Memories) -> None:
    """Interpret instructions by their semantics, their operands once encoded and decoded."""
    buffers = memories(isa.config, DRAM_BYTES)
    for name, operands in calls:
        instruction, decoded = isa.decode(isa.encode(name, operands))
        assert decoded == instruction.complete(operands)
        interpret(instruction.function(buffers), decoded, mem)


def check_tile(
    tiles: TileTensorizer, isa: InstructionSet, tile: Tile, placement: Mapping[str, int], rng: np.random.Generator
) -> list[InstructionCall]:
    """Compare a tile's nest with its instructions; return these."""
    before = random_memories(isa.config, rng)
    expected = {space: array.copy() for space, array in before.items()}
    actual = {space: array.copy() for space, array in before.items()}
    run_nest(tiles.nest(tile), placement, expected)
    calls = tiles.calls(tile, placement)
    run_calls(isa, calls, actual)
    for space in expected:
        np.testing.assert_array_equal(actual[space], expected[space], err_msg=f"{space} after {calls}")
    assert any((expected[space] != before[space]).any() for space in expected)
    return calls


def kit(config: Config) -> tuple[InstructionSet, TileTensorizer]:
    """Return an instruction set and its tensorizer."""
    isa = instruction_set(config)
    return isa, TileTensorizer(isa)
