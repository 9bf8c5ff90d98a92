"""Every operator on random shapes and configurations equals the integer reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check
from tilewright.compiler.qops import Window
from tilewright.isa.config import Config

configurations = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def pick(rng: np.random.Generator, *choices: int) -> int:
    return int(rng.choice(choices))


def random_window(rng: np.random.Generator, height: int, width: int) -> Window:
    kernel = (pick(rng, 1, 2, 3, 5), pick(rng, 1, 1, 3, 4))
    dilations = (pick(rng, 1, 1, 2), pick(rng, 1, 1, 2))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [int(rng.integers(0, span)) for span in spans * 2]
    for axis, extent in enumerate((height, width)):
        pads[axis] += max(0, spans[axis] - extent - pads[axis] - pads[axis + 2])
    return Window(kernel, (pick(rng, 1, 1, 2, 3), pick(rng, 1, 2)), (pads[0], pads[1], pads[2], pads[3]), dilations)


@configurations
@pytest.mark.parametrize("case", range(6))
def test_convolution(config: Config, case: int, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    height, width = (int(v) for v in rng.integers(1, 20, 2))
    x = builder.input(pick(rng, 1, 1, 2, 3), pick(rng, 1, 3, 16, 20, 40, 64), height, width)
    y = builder.conv(x, pick(rng, 1, 8, 17, 33, 64), random_window(rng, height, width), table=case % 2 == 0)
    check(builder.graph(y), config, rng)


@configurations
@pytest.mark.parametrize("groups", ["depthwise", "two", "uneven", "pairs"])
def test_grouped_convolution(config: Config, groups: str, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    shapes = {"depthwise": (40, 40, 40), "two": (48, 20, 2), "uneven": (30, 60, 10), "pairs": (88, 44, 44)}
    inputs, outputs, count = shapes[groups]
    x = builder.input(2, inputs, 11, 9)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    check(builder.graph(builder.conv(x, outputs, window, count)), config, rng)


@configurations
def test_strided_pointwise_convolution(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.input(1, 36, 14, 15)
    y = builder.conv(x, 40, Window((1, 1), (2, 2), (0, 0, 0, 0), (1, 1)))
    check(builder.graph(y), config, rng)


@configurations
def test_pointwise_convolution_with_pads_behind(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.input(1, 20, 5, 6)
    y = builder.conv(x, 24, Window((1, 1), (1, 1), (0, 0, 2, 1), (1, 1)))
    check(builder.graph(y), config, rng)


@configurations
def test_convolution_with_residual(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x, second = builder.input(2, 70, 9, 8), builder.input(2, 50, 9, 8)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    check(builder.graph(builder.conv(x, 50, window, residual=second, table=True)), config, rng)


@configurations
@pytest.mark.parametrize("case", range(4))
def test_matrix_product(config: Config, case: int, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    shapes = {0: (1, 64), 1: (19, 130), 2: (2, 3, 40), 3: (5, 300)}
    x = builder.input(*shapes[case])
    columns = pick(rng, 1, 10, 65)
    residual = builder.input(*shapes[case][:-1], columns) if case % 2 else ""
    check(builder.graph(builder.matmul(x, columns, residual, table=case == 2)), config, rng)


@configurations
@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (1, 3, 30, 30), (37, 50), (3, 4, 9)], ids=str)
def test_elementwise(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x, second = builder.input(*shape), builder.input(*shape)
    total = builder.node("qadd", [x, second, builder.table(True)], {"epilogue": builder.epilogue(True)})
    limited = builder.node("qclamp", [total], {"low": -50, "high": 33})
    looked_up = builder.node("qtable", [limited, builder.table(True)])
    scaled = builder.node("qrequantize", [looked_up, *builder.scaled(1, 1), "", ""], {"epilogue": builder.epilogue()})
    check(builder.graph(total, scaled), config, rng)


@configurations
@pytest.mark.parametrize("case", range(3))
def test_pooling(config: Config, case: int, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    height, width = (int(v) for v in rng.integers(4, 18, 2))
    x = builder.input(pick(rng, 1, 3), pick(rng, 3, 20, 40), height, width)
    window = random_window(rng, height, width)
    largest = builder.node("qmaxpool", [x], window.as_attributes())
    average = builder.avgpool(x, window, ((0, 0, 0, 0), window.pads)[case % 2])
    whole = builder.node("qglobalavgpool", [x, *builder.scaled(1, 50), "", ""], {"epilogue": builder.epilogue()})
    check(builder.graph(largest, average, whole), config, rng)


@configurations
def test_padding_and_concatenation(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x, second = builder.input(2, 64, 5, 6), builder.input(2, 32, 5, 6)
    padded = builder.node("qpad", [x], {"pads": (0, 0, 1, 0, 0, 0, 2, 3), "value": 7})
    channels = builder.node("qconcat", [x, second], {"axis": 1})
    rows = builder.node("qconcat", [x, x], {"axis": 2})
    columns = builder.node("qconcat", [x, x, x], {"axis": 3})
    check(builder.graph(padded, channels, rows, columns), config, rng)


@configurations
def test_concatenation_of_matrices(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    joined = builder.node("qconcat", [builder.input(5, 64), builder.input(5, 10)], {"axis": 1})
    check(builder.graph(joined), config, rng)


@configurations
def test_network(config: Config, rng: np.random.Generator) -> None:
    """Layers in one launch: residual branch, strides, pooling, a classifier."""
    builder = GraphBuilder(rng)
    same = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    x = builder.input(1, 3, 16, 16)
    stem = builder.conv(x, 24, same)
    inner = builder.conv(stem, 24, same)
    block = builder.conv(inner, 24, same, residual=stem)
    half = builder.conv(block, 40, Window((1, 1), (2, 2), (0, 0, 0, 0), (1, 1)))
    pooled = builder.node("qglobalavgpool", [half, *builder.scaled(1, 64), "", ""], {"epilogue": builder.epilogue()})
    flat = builder.node("reshape", [pooled], {"shape": (1, 40)})
    program = check(builder.graph(builder.matmul(flat, 10), stem), config, rng)
    assert len(program.launches) == 1, "a reshape that moves no byte must not break the launch"


@configurations
def test_host_steps_between_launches(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.input(1, 12, 6, 5)
    first = builder.conv(x, 20, Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)))
    flat = builder.node("reshape", [first], {"shape": (1, 600)})
    program = check(builder.graph(builder.matmul(flat, 7)), config, rng, host=("reshape",))
    assert len(program.launches) == 2
