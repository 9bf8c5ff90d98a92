"""Softmax and normalization composed of ROW instructions: equal to their statement in NumPy, and close to real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from tilewright.compiler.row_functions import Normalization, normalise_rows, softmax_rows, softmax_scale
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.row_ops import EXP_FRACTION, NORMAL_FRACTION
from tilewright.sim.functional import FunctionalSimulator

_SQUARE = PRESETS["8x8"].with_values(vector={"rows": True})
CONFIGS = {
    "square": _SQUARE,
    "4x8, batch 2": _SQUARE.with_values(gemm={"block_in": 4, "batch": 2}),
    "8x4": _SQUARE.with_values(gemm={"block_out": 4}),
}
POSITIONS = 6
RESULTS = 1024  # first entry of the results in `act`
KEPT = 64  # entries of `acc` between those of one operation and the next

Rows = NDArray[np.int8]
Program = list[tuple[str, dict[str, int]]]


@dataclass(frozen=True)
class Bench:
    """A simulator whose `act` holds rows, one after the other, and the instructions that walk them."""

    simulator: FunctionalSimulator
    channels: int

    @property
    def isa(self) -> InstructionSet:
        return self.simulator.isa

    @property
    def config(self) -> Config:
        return self.isa.config

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.config.gemm.block_out)

    def instruction(self, op: str, b: int, d: int, **values: int) -> tuple[str, dict[str, int]]:
        code = {o.name: o for o in self.isa.row_ops}[op]
        wide = self.config.gemm.block_out // self.config.atom
        common = {"op": code.code, "a_base": 0, "a_out0": self.blocks * wide, "b_base": b * KEPT, "b_out0": 1}
        extents = {f"extent_{name}": 1 for name in ("out1", "out2", "red0", "red1")} | {"extent_out0": POSITIONS}
        if code.reduce:
            tail = self.channels % self.config.gemm.block_out
            walk = {"extent_red2": self.blocks, "a_red2": wide, "to_acc": 1, "tail": tail}
            return "ROW", common | extents | walk | {"d_base": d * KEPT, "d_out0": 1, **values}
        walk = {"extent_out1": self.blocks, "extent_red2": 1, "a_out1": wide, "p_out1": 1}
        target = {"d_base": RESULTS * wide, "d_out0": self.blocks * wide, "d_out1": wide}
        return "ROW", common | extents | walk | target | {"clamp_low": -128, "clamp_high": 127, **values}

    def run(self, rows: Rows, program: Program, records: NDArray[np.uint8]) -> Rows:
        """Execute on `[positions * batch, channels]`, with garbage behind the last channel, and return the results."""
        state, shape = self.simulator.state, self._shape
        padded = np.full((len(rows), shape[1] * shape[3]), 77, np.int8)
        padded[:, : self.channels] = rows
        entries = padded.reshape(POSITIONS, self.config.gemm.batch, -1, self.config.atom).transpose(0, 2, 1, 3)
        state["act"][: entries.shape[0] * entries.shape[1]] = entries.reshape(-1, state["act"].shape[1])
        state["prm"][: len(records)] = records
        words = b"".join(self.isa.encode(name, values) for name, values in program)
        self.simulator.launch(np.frombuffer(bytearray(words), np.uint8), 0, len(program))
        first = RESULTS * (self.config.gemm.block_out // self.config.atom)
        stored = state["act"][first : first + entries.shape[0] * entries.shape[1]].reshape(entries.shape)
        return stored.transpose(0, 2, 1, 3).reshape(len(rows), -1)[:, : self.channels]

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return POSITIONS, self.blocks, self.config.gemm.batch, self.config.gemm.block_out

    def records(self, bias: NDArray[np.int64], multiplier: NDArray[np.int64], shift: NDArray[np.int64]) -> Rows:
        """Return parameter entries, `[blocks, bytes]`, of values for each channel."""
        count = self.blocks * self.config.gemm.block_out
        records = np.zeros((count, 8), np.uint8)
        place = slice(self.channels)
        records[place, :4] = bias.astype("<i4").view(np.uint8).reshape(-1, 4)
        records[place, 4:7] = multiplier.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
        records[place, 7] = shift
        return records.reshape(self.blocks, -1)


@pytest.fixture(params=CONFIGS, scope="module")
def simulator(request: pytest.FixtureRequest) -> FunctionalSimulator:
    return FunctionalSimulator(instruction_set(CONFIGS[request.param]))


def some_rows(bench: Bench, rng: np.random.Generator) -> Rows:
    """Return rows of all kinds: uniform, narrow, one outlier, constant, extreme, two values."""
    count, n = POSITIONS * bench.config.gemm.batch, bench.channels
    kinds = [
        rng.integers(-128, 128, n),
        np.clip(np.round(rng.normal(rng.integers(-60, 60), 3, n)), -128, 127),
        np.where(np.arange(n) == rng.integers(n), 127, rng.integers(-2, 2)),
        np.full(n, rng.integers(-128, 128)),
        rng.choice([-128, 127], n),
        np.clip(np.round(rng.normal(0, 30, n)), -128, 127),
    ]
    return np.stack([kinds[i % len(kinds)] for i in range(count)]).astype(np.int8)


def requantized(x: NDArray[np.int64], multiplier: object, shift: object, zero: int) -> NDArray[np.int64]:
    y = (x * np.asarray(multiplier) + (1 << np.asarray(shift) >> 1)) >> np.asarray(shift)
    return np.clip(y + zero, -128, 127)


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 13, 64, 100, 197, 512])
def test_softmax(simulator: FunctionalSimulator, channels: int, rng: np.random.Generator) -> None:
    bench = Bench(simulator, channels)
    one = np.ones(channels, np.int64)
    shift = EXP_FRACTION - 8
    for scale in (1e-3, 0.02, 0.11, 0.7, 6.0):
        rows, factor = some_rows(bench, rng), softmax_scale(scale)
        program = [
            bench.instruction("max", 0, 0, scale=factor),
            bench.instruction("exp_sum", 0, 1, scale=factor),
            bench.instruction("exp", 1, 0, scale=factor, zero_out=-128),
        ]
        found = bench.run(rows, program, bench.records(0 * one, one, shift * one))
        assert np.array_equal(found, requantized(softmax_rows(rows, factor), 1, shift, -128))
        logits = rows * scale
        real = np.exp(logits - logits.max(axis=1, keepdims=True))
        real /= real.sum(axis=1, keepdims=True)
        expected = np.clip(np.rint(real * 256) - 128, -128, 127)
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("removes_mean", [True, False], ids=["layer", "rms"])
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 13, 64, 100, 197, 512])
def test_normalization(
    simulator: FunctionalSimulator, channels: int, removes_mean: bool, rng: np.random.Generator
) -> None:
    bench = Bench(simulator, channels)
    for scale, epsilon in ((1e-3, 1e-5), (0.02, 1e-5), (0.02, 1e-12), (0.5, 1e-6), (0.02, 0.25)):
        rows, operands = some_rows(bench, rng), Normalization.of(channels, scale, epsilon, removes_mean=removes_mean)
        assert operands.is_possible
        gamma, beta = rng.normal(1, 0.6, channels), rng.normal(0, 0.5, channels)
        values = rows * scale
        if removes_mean:
            values = values - values.mean(axis=1, keepdims=True)
        real = values / np.sqrt((values**2).mean(axis=1, keepdims=True) + epsilon) * gamma + beta
        step = max(np.ptp(real) / 255, 1e-3)
        zero = int(np.clip(np.rint(-128 - real.min() / step), -128, 127))

        factor = np.abs(gamma) / step / 2**NORMAL_FRACTION
        shift = np.clip(15 - np.floor(np.log2(factor)).astype(np.int64) - 1, 0, 40)
        multiplier = np.minimum(np.rint(factor * 2.0**shift), 65535).astype(np.int64)
        bias = np.rint(beta / np.abs(gamma) * 2**NORMAL_FRACTION).astype(np.int64)
        negate = gamma < 0
        records = bench.records(bias, multiplier, shift | negate << 7)
        found = bench.run(rows, normalization(bench, operands, zero), records)
        x = normalise_rows(rows, operands)
        assert np.array_equal(found, requantized(bias + np.where(negate, -x, x), multiplier, shift, zero))
        expected = np.clip(np.rint(real / step) + zero, -128, 127)
        assert np.abs(found - expected).max() <= 1


def normalization(bench: Bench, operands: Normalization, zero: int) -> Program:
    mapped: Mapping[str, int] = {"bias_enable": 1, "zero_out": zero}
    return [
        bench.instruction("sum", 0, 0, scale=operands.mean_scale, offset=operands.mean_shift),
        bench.instruction("square_sum", 0, 1, scale=operands.count_log, offset=operands.epsilon),
        bench.instruction("normalise", 1, 0, **mapped),
    ]
