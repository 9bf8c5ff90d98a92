"""Softmax and normalization on the device, against the integer reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check
from tilewright.compiler.row_functions import Normalization, softmax_scale
from tilewright.isa.config import Config
from tilewright.isa.row_ops import EXP_FRACTION

WITH_ROWS = {name: config.with_values(vector={"rows": True}) for name, config in CONFIGS.items()}


def _softmax(builder: GraphBuilder, x: str, scale: float) -> str:
    constants = [np.zeros(1, np.int32), np.full(1, 32768, np.int32), np.full(1, 15 + EXP_FRACTION - 8, np.int32)]
    names = [builder.constant(array) for array in constants]
    attributes = {"scale": softmax_scale(scale), "epilogue": builder.epilogue()}
    return builder.node("qsoftmax", [x, *names, "", builder.table(bool(builder.rng.integers(2)))], attributes)


def _normalized(builder: GraphBuilder, x: str, removes_mean: bool = True) -> str:
    channels, rng = builder.values[x].known_shape[-1], builder.rng
    operands = Normalization.of(channels, 0.03, 1e-5, removes_mean=removes_mean)
    constants = [
        rng.integers(0, 2, channels, np.int32), rng.integers(-(1 << 14), 1 << 14, channels, np.int32),
        rng.integers(1 << 14, 1 << 15, channels, np.int32), rng.integers(22, 26, channels, np.int32),
    ]  # fmt: skip
    names = [builder.constant(array) for array in constants]
    attributes = {**vars(operands), "epilogue": builder.epilogue()}
    return builder.node("qnormalize", [x, *names, "", ""], attributes)


def _channels(rng: np.random.Generator, config: Config) -> int:
    """Draw a number of channels that does not end within a row of lanes."""
    channels = int(rng.integers(2, 80))
    steps, parts = -(-channels // config.gemm.block_out), config.lanes // config.gemm.block_out
    return channels if steps <= parts or steps % parts == 0 else channels + config.gemm.block_out


@pytest.mark.parametrize("name", WITH_ROWS)
@pytest.mark.parametrize("seed", range(4))
def test_softmax_equals_the_reference(name: str, seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng([seed, len(name)])
    builder = GraphBuilder(rng)
    x = builder.input(2, int(rng.integers(1, 40)), _channels(rng, WITH_ROWS[name]))
    check(builder.graph(_softmax(builder, x, float(rng.uniform(0.01, 2)))), WITH_ROWS[name], rng)


@pytest.mark.parametrize("name", WITH_ROWS)
@pytest.mark.parametrize("removes_mean", [True, False])
def test_normalization_equals_the_reference(name: str, removes_mean: bool) -> None:
    print("seed 1")
    rng = np.random.default_rng(1)
    builder = GraphBuilder(rng)
    x = builder.input(1, int(rng.integers(1, 40)), _channels(rng, WITH_ROWS[name]))
    check(builder.graph(_normalized(builder, x, removes_mean)), WITH_ROWS[name], rng)


@pytest.mark.parametrize("name", ["4x4", "16x16", "32x16", "large"])
@pytest.mark.parametrize("rows", [6, 53])
def test_a_transformer_layer_runs_on_the_device(name: str, rows: int) -> None:
    config = WITH_ROWS[name]
    rows += rows % 2 * (name == "4x4")
    rng = np.random.default_rng(rows)
    builder = GraphBuilder(rng)
    heads, size = 2, config.lanes
    x = builder.input(1, rows, heads * size)
    q, k, v = (
        builder.node("split_heads", [builder.matmul(x, heads * size)], {"heads": heads}) for _ in range(3)
    )  # fmt: skip
    one = {"zero_in": 0, "zero_y": 0, "epilogue": builder.epilogue()}
    scores = builder.node("qbatchmatmul", [q, k, *builder.scaled(1, size), "", ""], one)
    chances = _softmax(builder, scores, 0.1)
    turned = builder.node("transpose", [v], {"perm": (0, 1, 3, 2)})
    two = {"zero_in": -128, "zero_y": 0, "epilogue": builder.epilogue()}
    mixed = builder.node("qbatchmatmul", [chances, turned, *builder.scaled(1, rows), "", ""], two)
    merged = builder.node("merge_heads", [mixed])
    y = _normalized(builder, builder.matmul(merged, heads * size, residual=x))
    z = builder.matmul(builder.matmul(y, 4 * size, table=True), heads * size, residual=y)
    check(builder.graph(_normalized(builder, z)), config, rng)


def test_rows_run_on_the_host_without_the_unit() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder(rng)
    config = CONFIGS["8x8"].with_values(vector={"rows": False})
    check(builder.graph(_softmax(builder, builder.input(3, 5, 7), 0.1)), config, rng, ("qsoftmax",))
