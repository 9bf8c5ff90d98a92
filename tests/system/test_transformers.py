"""A transformer on the generated RTL: outputs of the integer reference, cycles of the fast simulator."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright
from tests.compiler.transformer_models import bert
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import Config
from tilewright.sim.api import DramTiming
from tilewright.sim.runner import run

CONFIG = Config.load("tiny").with_values(vector={"rows": True})


@pytest.mark.verilator
@pytest.mark.parametrize("timing", [DramTiming(), DramTiming(100, 4, 2)], ids=["near", "far"])
def test_an_encoder_on_the_rtl(timing: DramTiming) -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.normal(size=(1, 10, 16)).astype(np.float32)} for _ in range(8)]
    graph = load_integer_graph(tilewright.quantize(bert(rng, 10, 16, 2), samples, samples=6).model)
    program = compile_model(graph, CONFIG)
    assert {"qbatchmatmul", "qsoftmax", "qnormalize", "transpose"} <= {layer.op for layer in program.layers}
    cycles = []
    for on in ("rtl", "fast"):
        result = run(program, samples[0], tilewright.simulator(on, CONFIG, dram=timing))
        cycles.append([launch.cycles for launch in result.launches])
        for name, expected in evaluate(graph, samples[0]).items():
            np.testing.assert_array_equal(result.outputs[name], expected)
    assert cycles[0] == cycles[1]
