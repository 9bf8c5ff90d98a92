"""Outputs that stay in the activation scratchpad for the next layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder, check, random_inputs, simulator
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Window
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.chaining import border_loads
from tilewright.compiler.targets.accelerator.layout import ceil_div, image_layout
from tilewright.compiler.targets.accelerator.placement import Resident
from tilewright.compiler.targets.accelerator.tile_output import Grid
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.races import check_races
from tilewright.sim.runner import run

WITH_DEPTHWISE = {
    name: config.with_values(depthwise={"enabled": True, "columns": 32}) for name, config in CONFIGS.items()
}
CASES = pytest.mark.parametrize("config", WITH_DEPTHWISE.values(), ids=WITH_DEPTHWISE.keys())


def square(kernel: int, stride: int = 1) -> Window:
    return Window((kernel, kernel), (stride, stride), (kernel // 2,) * 4, (1, 1))


def stores(program: Program) -> set[int]:
    """Layers that store anything."""
    isa = instruction_set(program.config)
    found = set()
    for launch in program.launches:
        start = launch.offset - program.image_offset
        for i in range(launch.count):
            data = program.image[start + i * isa.instruction_bytes : start + (i + 1) * isa.instruction_bytes]
            if isa.decode(data.tobytes())[0].name == "STORE_ACT":
                found.add(int(program.instruction_layers[launch.first_instruction + i]))
    return found


def check_order(program: Program) -> None:
    memory = program.dram()
    for launch in program.launches:
        check_races(DecodedProgram.of(instruction_set(program.config), memory, launch.offset, launch.count))


@CASES
def test_random_chains(config: Config, rng: np.random.Generator) -> None:
    for _ in range(3):
        builder = GraphBuilder(rng)
        x = builder.input(1, int(rng.integers(1, 2 * config.lanes)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
        for _ in range(int(rng.integers(2, 6))):
            kernel, stride = int(rng.choice([1, 3, 5])), int(rng.integers(1, 3))
            shape = builder.values[x].known_shape
            if rng.random() < 0.4:
                x = builder.conv(x, shape[1], square(kernel, stride), shape[1])
            else:
                second = x if rng.random() < 0.4 else ""
                outputs = int(rng.integers(1, 2 * config.lanes))
                y = builder.conv(x, outputs, square(kernel, 1 if second else stride))
                x = builder.conv(y, shape[1], square(3), residual=second) if second else y
        check_order(check(builder.graph(x), config, rng))


@CASES
def test_random_products(config: Config, rng: np.random.Generator) -> None:
    for _ in range(3):
        builder = GraphBuilder(rng)
        x = builder.input(int(rng.integers(1, 40)), int(rng.integers(1, 6 * config.lanes)))
        for _ in range(int(rng.integers(2, 6))):
            shape = builder.values[x].known_shape
            y = builder.matmul(x, int(rng.integers(1, 6 * config.lanes)), table=config.epilogue.tables > 0)
            x = builder.matmul(y, shape[1], residual=x) if rng.random() < 0.3 else y
        check_order(check(builder.graph(x), config, rng))


def test_products_that_wait_for_their_weights(rng: np.random.Generator) -> None:
    """What bounds them is the bus: nothing but weights and parameters is moved, each with few instructions."""
    config = Config.load("8x8")
    builder = GraphBuilder(rng)
    x = builder.input(1, 128)
    for _ in range(4):
        x = builder.matmul(x, 128)
    program = check(builder.graph(x), config, rng)
    assert stores(program) == {3}
    assert [layer.instructions for layer in program.layers[1:3]] == [3, 3]
    check_order(program)


def test_inverted_residual(rng: np.random.Generator) -> None:
    """Expansion, depthwise and projection: what the block adds at its end is in DRAM, the rest is not."""
    config = WITH_DEPTHWISE["large"]
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, 16, 7, 7), 16, square(1))
    wide = builder.conv(x, 96, square(1))
    y = builder.conv(builder.conv(wide, 96, square(3), 96), 16, square(1), residual=x)
    program = check(builder.graph(y), config, rng)
    assert stores(program) == {0, 3}
    check_order(program)


@CASES
def test_some_channels_at_a_time(config: Config, rng: np.random.Generator) -> None:
    """Where the expansion is too large to stay whole."""
    lanes = config.lanes
    wide = ceil_div(config.act_rows, 12 * 12) * lanes - 3
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, lanes, 10, 10), wide, square(1))
    program = check(builder.graph(builder.conv(x, wide, square(3), wide)), config, rng)
    check_order(program)
    if config.act_rows > 1024:  # elsewhere it takes longer in parts
        assert stores(program) == {1}
        assert all("parts" in layer.tiling for layer in program.layers)


def test_two_readers(rng: np.random.Generator) -> None:
    """The next layer finds it in `act`, the one after that in DRAM."""
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, 16, 8, 8), 16, square(1))
    first, second = builder.conv(x, 16, square(3)), builder.conv(x, 16, square(1, 2))
    program = check(builder.graph(first, second), CONFIGS["large"], rng)
    assert stores(program) == {0, 1, 2}
    assert "qconv2d_1 input" not in program.instruction_labels


def test_output_is_stored(rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, 16, 8, 8), 16, square(1))
    program = check(builder.graph(x, builder.conv(x, 16, square(3))), CONFIGS["large"], rng)
    assert stores(program) == {0, 1}


def test_too_large_to_keep(rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, 16, 40, 40), 16, square(1))
    program = check(builder.graph(builder.conv(x, 16, square(3))), CONFIGS["16x16"], rng)
    assert stores(program) == {0, 1}


def test_border() -> None:
    """The border is filled, and nothing else."""
    config = CONFIGS["16x16"]
    resident = Resident(10, Grid(2, 7, 9), 2, 3, -5)
    layout = image_layout((1, 32, 4, 5), config)
    touched = np.zeros(config.act_rows, int)
    for load in border_loads(resident, layout, config, "x"):
        o = load.operands
        for block in range(o["extent1"]):
            for line in range(o["pad_bottom"]):
                start = o["base"] + block * o["stride1"] + line * o["stride0"]
                touched[start : start + o["pad_right"]] += 1
    expected = np.zeros((2, 7, 9), int) + 1
    expected[:, 2:6, 3:8] = 0
    np.testing.assert_array_equal(touched[10 : 10 + resident.grid.size].reshape(2, 7, 9), expected)
    assert touched.sum() == expected.sum()


@pytest.mark.parametrize("name", ["resnet8_int8", "dscnn_kws_int8"])
def test_models(name: str, measuring_models: Path, rng: np.random.Generator) -> None:
    config = Config.load("8x8").with_values(depthwise={"enabled": True})
    graph = load_integer_graph(measuring_models / f"{name}.onnx")
    program = compile_model(graph, config)
    kept = set(range(len(program.layers))) - stores(program)
    assert len(kept) >= 3
    inputs = {key: value.astype(graph.dtype(key)) for key, value in random_inputs(graph, rng).items()}
    outputs = run(program, inputs, simulator(config)).outputs
    for key, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], expected)
