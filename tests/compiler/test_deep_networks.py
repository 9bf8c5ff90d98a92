"""Deep networks' structure: every multiply-accumulate on the device, equal to the integer reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.compiler.deep_networks import efficientnet_lite0_graph, resnet50_graph
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.qops import mac_count
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.runner import run

#: Multiply-accumulates at 224 x 224, the stride of ResNet-50's blocks in their 3x3 convolution.
MACS = {"resnet50": 4_089_184_256, "efficientnet_lite0": 385_187_552}


@pytest.mark.slow
@pytest.mark.parametrize("build", [resnet50_graph, efficientnet_lite0_graph])
def test_network(build: Callable[[np.random.Generator], Graph], rng: np.random.Generator) -> None:
    config = Config.load("16x16")
    graph = build(rng)
    program = compile_model(graph, config)
    assert not program.host_steps and len(program.launches) == 1
    macs = sum(layer.macs for layer in program.layers)
    assert macs == sum(mac_count(graph, node) for node in graph.nodes) == MACS[graph.name]
    inputs = {"x": rng.integers(-128, 128, (1, 3, 224, 224), np.int8)}
    outputs = run(program, inputs, FunctionalSimulator(instruction_set(config))).outputs
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)
