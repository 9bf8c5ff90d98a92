"""Depthwise convolutions on accelerators with the depthwise mode equal the integer reference bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check, random_inputs, simulator
from tests.compiler.targets.accelerator.tile_driver import CONFIGS as TILE_CONFIGS
from tests.compiler.targets.accelerator.tile_driver import check_tile, kit
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.qops import Epilogue, Window
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.depthwise_tile import DepthwiseTile
from tilewright.compiler.targets.accelerator.depthwise_tiling import DepthwiseProblem, choose_depthwise_tiling
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.sim.runner import run


def with_depthwise(config: Config, columns: int = 16) -> Config:
    return config.with_values(depthwise={"enabled": True, "columns": columns})


DEPTHWISE = {name: with_depthwise(config) for name, config in CONFIGS.items()}
CASES = pytest.mark.parametrize("config", DEPTHWISE.values(), ids=DEPTHWISE.keys())
CLAMPED = Finish(Epilogue(3, None, -100, 90), True)
FINISHES = (Finish(), Finish(accumulate=True), CLAMPED, Finish(Epilogue(3), True, True))


@pytest.mark.parametrize("config", TILE_CONFIGS.values(), ids=TILE_CONFIGS.keys())
def test_tile(config: Config, rng: np.random.Generator) -> None:
    config = with_depthwise(config)
    isa, tiles = kit(config)
    parts = config.lanes // config.gemm.block_out
    for finish in FINISHES:
        stride = int(rng.integers(1, 3)), int(rng.integers(1, 3))
        kernel = int(rng.integers(1, config.window_rows + 1)), int(rng.integers(1, config.window_columns + 1))
        y = Grid(2 if finish.epilogue else 2 * parts, 2, 2)
        x = Grid(2, stride[0] + kernel[0], stride[1] + kernel[1] + 2)
        tile = DepthwiseTile(x, y, 2 * parts, 2, 2, kernel, stride, 3, finish)
        high = (config.act_rows - 20) * config.ratio
        place = {"x": 0, "w": 1, "p": 2, "addend": 1, "y": high if finish.epilogue else 1}
        calls = check_tile(tiles, isa, tile, place, rng)
        assert {name for name, _ in calls} == {"DEPTHWISE"}
        assert len(calls) == parts  # four output loops where rows hold several blocks, and three in hardware


@CASES
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 1), (2, 7), (7, 2), (1, 3)], ids=str)
def test_random_shapes(kernel: tuple[int, int], config: Config, rng: np.random.Generator) -> None:
    for _ in range(2):
        channels = int(rng.integers(1, 3 * config.lanes))
        strides = int(rng.integers(1, 3)), int(rng.integers(1, 3))
        pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        size = tuple(int(rng.integers(k, 24)) for k in kernel)
        builder = GraphBuilder(rng)
        x = builder.input(int(rng.integers(1, 3)), channels, *size)
        y = builder.conv(x, channels, Window(kernel, strides, pads, (1, 1)), channels, table=bool(rng.integers(2)))
        program = check(builder.graph(y), config, rng)
        assert "depthwise" in program.layers[0].tiling


@CASES
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5)], ids=str)
def test_residual(kernel: tuple[int, int], config: Config, rng: np.random.Generator) -> None:
    channels = config.lanes + 3
    builder = GraphBuilder(rng)
    x, second = builder.input(1, channels, 9, 7), builder.input(1, channels, 9, 7)
    half = kernel[0] // 2
    y = builder.conv(x, channels, Window(kernel, (1, 1), (half,) * 4, (1, 1)), channels, residual=second)
    assert "depthwise" in check(builder.graph(y), config, rng).layers[0].tiling


@CASES
@pytest.mark.parametrize("size", [(1, 40), (40, 1), (70, 3), (3, 70), (1, 1)], ids=str)
def test_lines_longer_than_the_array_takes(size: tuple[int, int], config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.input(1, 5, *size)
    y = builder.conv(x, 5, Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), 5)
    check(builder.graph(y), config, rng)


@pytest.mark.parametrize(("block_in", "kernel", "windows"), [(8, 3, 2), (16, 3, 1), (16, 5, 2), (32, 5, 1), (16, 7, 6)])
def test_windows(block_in: int, kernel: int, windows: int, rng: np.random.Generator) -> None:
    config = with_depthwise(Config.load("16x16").with_values(gemm={"block_in": block_in, "block_out": block_in}), 128)
    window = Window((kernel, kernel), (1, 1), (kernel // 2,) * 4, (1, 1))
    graph_builder = GraphBuilder(rng)
    x = graph_builder.input(1, block_in, 6, 6)
    program = check(graph_builder.graph(graph_builder.conv(x, block_in, window, block_in)), config, rng)
    tiles = sum(label.endswith("input") for label in program.instruction_labels)
    computes = sum(label == "qconv2d_0" for label in program.instruction_labels) - tiles  # as many stores as inputs
    assert computes == windows * tiles


@pytest.mark.parametrize("case", ["dilation", "stride", "multiplier", "disabled"])
def test_falls_back(case: str, rng: np.random.Generator) -> None:
    strides, dilations = ((3, 1) if case == "stride" else (1, 1)), ((2, 1) if case == "dilation" else (1, 1))
    builder = GraphBuilder(rng)
    outputs = 12 if case == "multiplier" else 6
    x = builder.input(1, 6, 11, 9)
    y = builder.conv(x, outputs, Window((3, 3), strides, (1, 1, 1, 1), dilations), 6)
    config = DEPTHWISE["8x8"].with_values(depthwise={"enabled": case != "disabled"})
    program = check(builder.graph(y), config, rng)
    assert "depthwise" not in program.layers[0].tiling


def test_too_large() -> None:
    config = with_depthwise(Config.load("tiny"))
    problem = DepthwiseProblem(1, 1, 1, 300, 300, 1, 1, (300, 300), (1, 1), (0, 0), False)
    with pytest.raises(CapacityError, match=r"the smallest tile needs \d+ bytes of `memory.act_kib`, which has 4096"):
        choose_depthwise_tiling(problem, config)


@pytest.mark.parametrize("name", ["8x8", "16x16", "batch2"])
def test_keyword_spotting(name: str, measuring_models: Path, rng: np.random.Generator) -> None:
    graph = load_integer_graph(measuring_models / "dscnn_kws_int8.onnx")
    program = compile_model(graph, DEPTHWISE[name])
    assert sum("depthwise" in layer.tiling for layer in program.layers) == 4
    inputs = {key: value.astype(graph.dtype(key)) for key, value in random_inputs(graph, rng).items()}
    outputs = run(program, inputs, simulator(DEPTHWISE[name])).outputs
    for key, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], expected)


def test_rows_are_walked_once() -> None:
    """With one channel block, the loop of blocks is not taken for rows, whose windows overlap."""
    _, tiles = kit(DEPTHWISE["16x16"])
    for stride in (1, 2):
        tile = DepthwiseTile(Grid(1, 12, 12), Grid(1, 4, 5), 1, 4, 5, (3, 3), (stride, stride), finish=FINISHES[2])
        ((_, operands),) = tiles.calls(tile, {"x": 0, "w": 0, "p": 0, "y": 500})
        assert (operands["extent_out0"], operands["extent_out1"], operands["extent_out2"]) == (1, 4, 5)
        assert operands["double_y"] == operands["double_x"] == stride - 1
