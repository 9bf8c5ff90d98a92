"""Random quantized graphs and every quantized operator, natively, against the integer reference."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.compiler.graph_fuzzer import GraphFuzzer
from tests.compiler.operator_cases import CASES
from tests.compiler.quantized_models import ModelBuilder
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import host_levels
from tilewright.compiler.targets.cpu.lower import lower

FEW, MANY = 8, 200


def _check(graph: Graph, inputs: dict[str, np.ndarray], seed: int) -> None:
    levels = host_levels()
    level = levels[seed % len(levels)]
    outputs = lower(graph, level).run(inputs, NativeMachine())
    for name, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], array, f"seed {seed}, {level.name}: {name}")


def _check_graph(seed: int) -> None:
    fuzzer = GraphFuzzer(seed)
    graph = load_integer_graph(fuzzer.model())
    _check(graph, fuzzer.builder.random_inputs(), seed)


def _check_operator(name: str, seed: int) -> None:
    case = CASES[name]
    builder = ModelBuilder(np.random.default_rng([seed, zlib.crc32(name.encode())]), opset=case.opset)
    result = case.build(builder)
    _check(load_integer_graph(builder.model([result.name])), builder.random_inputs(), seed)


@pytest.mark.parametrize("seed", range(FEW))
def test_graph(seed: int) -> None:
    _check_graph(seed)


@pytest.mark.parametrize("name", list(CASES)[::8])
def test_operator(name: str) -> None:
    _check_operator(name, zlib.crc32(name.encode()) % 1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, FEW + MANY))
def test_graph_of_many(seed: int) -> None:
    _check_graph(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", CASES)
def test_operator_of_many(name: str, seed: int) -> None:
    _check_operator(name, seed)
