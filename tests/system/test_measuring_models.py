"""Real int8 models on many accelerators: every simulator gives what the integer reference gives, bit for bit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.api import DramTiming, Simulator
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.rtl.model import RtlSimulator
from tilewright.sim.runner import run

MODELS = ("resnet8_int8", "autoencoder_ad_int8", "dscnn_kws_int8")
INPUTS = 8

CONFIGS = {
    c.name: c
    for c in (
        PRESETS["tiny"].with_values("4x4", memory={"act_kib": 16, "wgt_kib": 16, "prm_entries": 64}),
        PRESETS["8x8"].with_values("8x8"),
        PRESETS["16x16"].with_values("16x16"),
        PRESETS["16x16"].with_values("16x32", gemm={"block_out": 32}, bus={"data_bits": 256}),
        PRESETS["16x16"].with_values("32x16", gemm={"block_in": 32}),
        PRESETS["8x8"].with_values("8x8_batch2", gemm={"batch": 2}, bus={"data_bits": 128}),
        PRESETS["16x16"].with_values(
            "16x16_small", memory={"act_kib": 16, "wgt_kib": 16, "acc_kib": 4, "prm_entries": 16}, bus={"data_bits": 64}
        ),
    )
}


@cache
def integer_graph(path: Path, multiplier_bits: int) -> Graph:
    return load_integer_graph(path, multiplier_bits=multiplier_bits)


@cache
def compiled(path: Path, config: Config) -> Program:
    return compile_model(path, config)


def inputs_of(path: Path, graph: Graph, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Real samples where there are some, else random ones of the input's type."""
    (name,) = graph.inputs
    shape, dtype = graph.shape(name), np.dtype(graph.dtype(name))
    samples = path.parent / "kws_eval_500.npz"
    if path.stem.startswith("dscnn"):
        return [{name: x[None].astype(np.int8)} for x in np.load(samples)["x"][:INPUTS]]
    if dtype.kind == "f":
        return [{name: rng.standard_normal(shape).astype(dtype)} for _ in range(INPUTS)]
    info = np.iinfo(dtype)
    return [{name: rng.integers(info.min, info.max + 1, shape, dtype=dtype)} for _ in range(INPUTS)]


def check(path: Path, config: Config, simulator: Simulator, rng: np.random.Generator) -> None:
    graph = integer_graph(path, config.epilogue.multiplier_bits)
    program = compiled(path, config)
    for inputs in inputs_of(path, graph, rng):
        expected = evaluate(graph, inputs)
        found = run(program, inputs, simulator).outputs
        assert set(found) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=f"{path.stem} on {config.name}: {name}")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_functional_equals_the_reference(
    model: str, name: str, measuring_models: Path, rng: np.random.Generator
) -> None:
    config = CONFIGS[name]
    check(measuring_models / f"{model}.onnx", config, FunctionalSimulator(instruction_set(config)), rng)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("name", list(CONFIGS))
def test_rtl_equals_the_reference(name: str, measuring_models: Path, rng: np.random.Generator) -> None:
    config = CONFIGS[name]
    timing = DramTiming(bytes_per_cycle=config.bus_bytes)
    simulator = RtlSimulator(instruction_set(config), timing, max_cycles=20_000_000)
    for model in MODELS:
        check(measuring_models / f"{model}.onnx", config, simulator, rng)
