"""The measuring models, compiled and run on the functional simulator, equal the integer reference bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, simulator
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import Config
from tilewright.sim.runner import run

MODELS = ("resnet8_int8", "dscnn_kws_int8", "autoencoder_ad_int8")


def random_input(graph: Graph, name: str, rng: np.random.Generator) -> Array:
    kind = np.dtype(graph.dtype(name))
    if kind.kind == "f":
        return rng.normal(0, 1, graph.shape(name)).astype(kind)
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, graph.shape(name), kind, endpoint=True)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("name", MODELS)
def test_model(name: str, config: Config, measuring_models: Path, rng: np.random.Generator) -> None:
    graph = load_integer_graph(measuring_models / f"{name}.onnx")
    program = compile_model(graph, config)
    assert len(program.launches) == 1
    for _ in range(2):
        inputs = {key: random_input(graph, key, rng) for key in graph.inputs}
        outputs = run(program, inputs, simulator(config)).outputs
        for key, expected in evaluate(graph, inputs).items():
            np.testing.assert_array_equal(outputs[key], expected)
