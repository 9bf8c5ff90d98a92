"""Random graphs: each operator within a step of onnxruntime, fusion and the device equal to the integer reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.checks import integer_graph
from tests.compiler.graph_fuzzer import GraphFuzzer
from tests.compiler.targets.accelerator.layer_driver import CONFIGS, simulator
from tilewright.compiler.onnxruntime_check import compare_operators
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import fusing_passes
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.lower import Options
from tilewright.isa.config import Config
from tilewright.sim.runner import run

FEW, MANY = 30, 300
_NAMES = ("8x8", "16x16", "4x4", "16x32", "32x16", "batch2", "large")
#: One rounding more than onnxruntime's: their exponentials and roots are tables.
_APPROXIMATE = {"qsoftmax": 2, "qnormalize": 2}


def check_graph(seed: int) -> None:
    fuzzer = GraphFuzzer(seed)
    model = fuzzer.model()
    config = _config(seed)
    unfused = integer_graph(model, config.epilogue.multiplier_bits)
    inputs = fuzzer.builder.random_inputs()
    for difference in compare_operators(unfused, model, inputs):
        most = _APPROXIMATE.get(difference.node.op, 1)
        assert difference.largest <= most, f"seed {seed}, {fuzzer.operators}: {difference}"
    graph = run_passes(unfused, fusing_passes())
    expected, joined = evaluate(unfused, inputs), evaluate(graph, inputs)
    program = compile_model(graph, config, Options(is_host_fallback=True))
    device = run(program, inputs, simulator(config)).outputs
    for name, array in expected.items():
        np.testing.assert_array_equal(joined[name], array, f"seed {seed}, {fuzzer.operators}: fused {name}")
        np.testing.assert_array_equal(device[name], array, f"seed {seed}, {fuzzer.operators}: device {name}")


def _config(seed: int) -> Config:
    config = CONFIGS[_NAMES[seed % len(_NAMES)]]
    return config.with_values(vector={"rows": seed % 2 == 0})


@pytest.mark.parametrize("seed", range(FEW))
def test_graph(seed: int) -> None:
    check_graph(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, FEW + MANY))
def test_graph_of_many(seed: int) -> None:
    check_graph(seed)
