"""Inputs written by the host with a convolution's windows in their channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Window
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.folding import fold_weights
from tilewright.compiler.targets.accelerator.layout import Fold, folded
from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape, convolution_graph
from tilewright.isa.config import Config

CASES = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def folds(program: Program) -> list[Fold | None]:
    return [transfer.layout.fold for launch in program.launches for transfer in launch.uploads]


def test_folded_values(rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (2, 3, 9, 7), np.int8)
    fold = Fold((2, 3), (2, 1), (1, 2), (1, 2), (5, 6), -7)
    result = folded(x, fold).reshape(2, 2, 3, 3, 5, 6)
    for ky, kx, y, column in np.ndindex(2, 3, 5, 6):
        row, col = y * 2 + ky - 1, column + kx * 2 - 2
        inside = 0 <= row < 9 and 0 <= col < 7
        expected = x[:, :, row, col] if inside else np.full((2, 3), -7)
        np.testing.assert_array_equal(result[:, ky, kx, :, y, column], expected)


@pytest.mark.parametrize("height", [1, 3])
def test_folded_weights_give_the_same_sums(height: int, rng: np.random.Generator) -> None:
    x, weight = rng.integers(-9, 9, (1, 2, 3, 3), np.int8), rng.integers(-9, 9, (4, 2, 3, 3), np.int8)
    fold = Fold((height, 3), (1, 1), (1, 1), (0, 0), (4 - height, 1), 0)
    taps, rest = folded(x, fold).astype(int), fold_weights(weight, fold).astype(int)
    assert rest.shape == (4, 6 * height, 4 - height, 1)
    sums = np.einsum("chw,ochw->o", taps[0], rest)
    np.testing.assert_array_equal(sums, np.einsum("chw,ochw->o", x[0].astype(int), weight.astype(int)))


@CASES
def test_first_layers(config: Config, rng: np.random.Generator) -> None:
    for channels, kernel, stride in ((3, (3, 3), 1), (1, (3, 3), 2), (3, (7, 7), 2), (2, (1, 5), 1), (3, (5, 1), 2)):
        builder = GraphBuilder(rng)
        x = builder.input(int(rng.integers(1, 3)), channels, 17, 13)
        pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        window = Window(kernel, (stride, int(rng.integers(1, 3))), pads, (1, int(rng.integers(1, 3))))
        y = builder.conv(builder.conv(x, 10, window), 6, Window((1, 1), (1, 1), (0,) * 4, (1, 1)))
        check(builder.graph(y), config, rng)


def test_input_of_two_layers(rng: np.random.Generator) -> None:
    """One wants it folded, the other as it is."""
    builder = GraphBuilder(rng)
    x = builder.input(1, 3, 16, 16)
    first = builder.conv(x, 3, Window((3, 3), (1, 1), (1,) * 4, (1, 1)))
    program = check(builder.graph(builder.conv(first, 3, Window((1, 1), (1, 1), (0,) * 4, (1, 1)), residual=x)),
                    CONFIGS["large"], rng)  # fmt: skip
    assert len(folds(program)) == 2
    assert None in folds(program)


def test_no_fold_for_many_channels(rng: np.random.Generator) -> None:
    graph = convolution_graph(ConvolutionShape("c", 14, 64, 64, 3, 1, 1), rng)
    assert folds(compile_model(graph, Config.load("16x16"))) == [None]


@pytest.mark.parametrize(("size", "kernel", "pad", "stride", "share"), [(224, 7, 3, 2, 0.6), (32, 3, 1, 1, 0.5)])
def test_utilization(size: int, kernel: int, pad: int, stride: int, share: float, rng: np.random.Generator) -> None:
    """Estimated cycles of ResNet-18's and ResNet-8's first convolutions."""
    graph = convolution_graph(ConvolutionShape("first", size, 3, 64, kernel, pad, stride), rng)
    (layer,) = compile_model(graph, Config.load("16x16")).layers
    assert layer.ideal_cycles / layer.predicted_cycles > share


def test_program_file(tmp_path: Path, rng: np.random.Generator) -> None:
    from tests.compiler.targets.accelerator.layer_driver import random_inputs, simulator
    from tilewright.sim.runner import run

    config = CONFIGS["8x8"]
    graph = convolution_graph(ConvolutionShape("first", 16, 3, 8, 3, 1, 1), rng)
    program = compile_model(graph, config)
    program.save(tmp_path / "p.twp")
    loaded = Program.load(tmp_path / "p.twp")
    assert folds(loaded) == folds(program)
    assert folds(loaded) != [None]
    inputs = random_inputs(graph, rng)
    np.testing.assert_array_equal(run(loaded, inputs, simulator(config)).outputs["y"], evaluate(graph, inputs)["y"])
