"""Small programs with tokens, for the top level, and what they do to DRAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.hw.reference import execute, random_memories
from tilewright.isa.instructions import Engine, InstructionSet

TILE_ROWS = 6
WEIGHTS, PARAMETERS, TABLES, INPUT, OUTPUT = 0x1000, 0x3000, 0x3800, 0x4000, 0x8000
PROGRAM = 0xC000
DRAM_BYTES = 0x10000


def mask(engine: Engine, *others: Engine) -> int:
    """Return the `wait` or `signal` bits of an instruction of `engine`."""
    return sum(1 << engine.others.index(other) for other in others)


@dataclass
class Program:
    """Instructions in stream order, and the DRAM that they find."""

    isa: InstructionSet
    dram: NDArray[np.uint8]
    steps: list[tuple[str, Mapping[str, int]]] = field(default_factory=list)

    def add(self, name: str, wait: int = 0, signal: int = 0, **values: int) -> None:
        self.steps.append((name, {"wait": wait, "signal": signal, **values}))

    @property
    def image(self) -> NDArray[np.uint8]:
        """DRAM with the program in it."""
        words = b"".join(self.isa.encode(name, values) for name, values in self.steps)
        image = self.dram.copy()
        image[PROGRAM : PROGRAM + len(words)] = np.frombuffer(words, np.uint8)
        return image

    def expected(self) -> NDArray[np.uint8]:
        """DRAM after the program, by the reference interpreter; scratchpads begin with arbitrary contents."""
        arrays = random_memories(self.isa, np.random.default_rng(0), DRAM_BYTES)
        arrays["dram"] = self.image
        for name, values in self.steps:
            execute(self.isa, name, values, arrays)
        return arrays["dram"]


def random_dram(isa: InstructionSet, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return random bytes, with parameters that bring sums back into eight bits."""
    dram = rng.integers(0, 256, DRAM_BYTES, np.uint8)
    channels = isa.config.gemm.block_out * 8
    records = dram[PARAMETERS : PARAMETERS + 8 * channels].reshape(channels, 8)
    records[:, 0:4] = rng.integers(-3000, 3000, channels).astype("<i4").view(np.uint8).reshape(channels, 4)
    records[:, 4:7] = rng.integers(50, 200, channels).astype("<u4").view(np.uint8).reshape(channels, 4)[:, :3]
    records[:, 7] = 12
    return dram


def tiled_layer(isa: InstructionSet, rng: np.random.Generator, tiles: int) -> Program:
    """A matrix product of all lanes with all lanes, tile by tile, inputs and outputs double buffered.

    Each tile is loaded with padding, multiplied with bias, requantization and (where there are) residual and table,
    and stored.
    """
    config = isa.config
    lanes, block_in, block_out, atom = config.lanes, config.gemm.block_in, config.gemm.block_out, config.atom
    program = Program(isa, random_dram(isa, rng))
    inputs, outputs = lanes // block_in, lanes // block_out
    load, compute, store = Engine

    plain = {"extent0": 1}
    program.add("LOAD_WGT", dram_base=WEIGHTS, extent_run=inputs * outputs, **plain)
    program.add("LOAD_PRM", dram_base=PARAMETERS, extent_run=outputs, **plain)
    if config.epilogue.tables:
        program.add("LOAD_TBL", dram_base=TABLES, extent_run=1, **plain)
    features = {"residual": int(config.epilogue.residual), "table_enable": int(config.epilogue.tables > 0)}
    if config.epilogue.residual:
        features |= {"residual_multiplier_a": 90, "residual_multiplier_b": 77, "residual_shift": 7, "zero_b": 3}
    rows_stride = {"out0": config.ratio, "out1": block_out // atom}
    for tile in range(tiles):
        first, bank = tile < 2, tile % 2 * 2 * TILE_ROWS
        program.add(
            "LOAD_ACT", 0 if first else mask(load, compute), mask(load, compute),
            dram_base=INPUT + tile * (TILE_ROWS - 3) * config.row_bytes, base=bank,
            extent_run=TILE_ROWS - 3, extent0=1, extent1=1, extent2=1, pad_left=2, pad_right=1, pad_value=-9,
        )  # fmt: skip
        program.add(
            "GEMM", mask(compute, load) if first else mask(compute, load, store), mask(compute, load, store),
            extent_out0=TILE_ROWS, extent_out1=outputs, extent_out2=1, extent_red0=inputs, extent_red1=1, extent_red2=1,
            a_base=bank * config.ratio, a_out0=config.ratio, a_red0=block_in // atom, w_out1=inputs, w_red0=1,
            b_base=bank * config.ratio, d_base=(bank + TILE_ROWS) * config.ratio, p_out1=1,
            **{f"{operand}_{loop}": stride for operand in "bd" for loop, stride in rows_stride.items()},
            bias_enable=1, zero_out=-4, clamp_low=-120, clamp_high=100, **features,
        )  # fmt: skip
        program.add(
            "STORE_ACT", mask(store, compute), mask(store, compute),
            dram_base=OUTPUT + tile * TILE_ROWS * config.row_bytes, base=bank + TILE_ROWS,
            extent_run=TILE_ROWS // 2, extent0=2, extent1=1, extent2=1, stride0=TILE_ROWS // 2,
            dram_stride0=TILE_ROWS // 2 * config.row_bytes,
        )  # fmt: skip
    return program


def deadlock(isa: InstructionSet) -> Program:
    """A store that waits for a token that nobody gives."""
    program = Program(isa, np.zeros(DRAM_BYTES, np.uint8))
    program.add("STORE_ACT", mask(Engine.STORE, Engine.COMPUTE))
    return program
