"""Products of two activations, heads and transposition on the device, against the integer reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check

#: Configurations in which rows of an activation are weight entries.
SUITABLE = ("4x4", "8x8", "16x16", "32x16", "large")


def _product(
    builder: GraphBuilder, x: str, y: str, zero: int, residual: str = "", table: bool = False, zero_y: int = 0
) -> str:
    depth = builder.values[x].known_shape[-1]
    attributes = {"zero_in": zero, "zero_y": zero_y, "epilogue": builder.epilogue(bool(residual))}
    return builder.node("qbatchmatmul", [x, y, *builder.scaled(1, depth), residual, builder.table(table)], attributes)


@pytest.mark.parametrize("name", SUITABLE)
@pytest.mark.parametrize("seed", range(12))
def test_products_equal_the_reference(name: str, seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng([seed, len(name)])
    builder = GraphBuilder(rng)
    stack = ((), (1,), (3,), (1, 2), (2, 3), (1, 1))[seed % 6]
    m, n, k = (int(v) for v in rng.integers(1, 40, 3))
    n += n % 2 * (name == "4x4")  # an odd number of rows of 4 bytes would not begin with the bus
    x, y = builder.input(*stack, m, k), builder.input(*stack, n, k)
    kind = seed % 3
    residual = (
        "" if kind == 0 else builder.input(*stack, m, n) if kind == 1 else builder.input(*(1,) * len(stack), 1, n)
    )
    zero, zero_y = (0, -128, 5, -7, 127, -128)[seed % 6], (0, 3, -128, 127, -128, -1)[seed % 6] * (seed >= 6)
    y = _product(builder, x, y, zero, residual, table=bool(rng.integers(2)), zero_y=zero_y)
    check(builder.graph(y), CONFIGS[name], rng)


@pytest.mark.parametrize("name", SUITABLE)
@pytest.mark.parametrize("rows", [5, 32, 37])
def test_attention_without_softmax_moves_nothing_on_the_host(name: str, rows: int) -> None:
    config = CONFIGS[name]
    rows += rows % 2 * (name == "4x4")
    rng = np.random.default_rng(rows)
    builder = GraphBuilder(rng)
    heads, size = 3, config.lanes * 2
    x = builder.input(1, rows, 24)
    q, k, v = (builder.matmul(x, heads * size) for _ in range(3))
    q, k, v = (builder.node("split_heads", [name], {"heads": heads}) for name in (q, k, v))
    scores = _product(builder, q, k, 0)
    turned = builder.node("transpose", [v], {"perm": (0, 1, 3, 2)})
    mixed = builder.node("merge_heads", [_product(builder, scores, turned, -128)])
    check(builder.graph(builder.matmul(mixed, 20)), config, rng)


def test_heads_that_are_no_whole_blocks_run_on_the_host() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder(rng)
    split = builder.node("split_heads", [builder.matmul(builder.input(1, 8, 24), 36)], {"heads": 3})
    check(builder.graph(_product(builder, split, builder.input(1, 3, 5, 12), 3)), CONFIGS["8x8"], rng, ("split_heads",))
