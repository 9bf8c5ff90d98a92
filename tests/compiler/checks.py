"""What tests of quantized operators assert: recognised, within one step of onnxruntime, fused without a change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto

from tests.compiler.quantized_models import ModelBuilder, Quantized
from tilewright.compiler.frontend import import_onnx
from tilewright.compiler.graph import Graph
from tilewright.compiler.onnxruntime_check import compare_operators
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import canonical_passes, fusing_passes, recognising_passes
from tilewright.compiler.reference import evaluate


def check_quantized(builder: ModelBuilder, result: Quantized, expected: Iterable[str], bits: int = 16) -> Graph:
    """Check the model that ends in `result`; give its fused graph.

    Parameters
    ----------
    expected
        The operators of the graph before fusion, sorted; movement and type conversions left out.
    """
    model = builder.model([result.name])
    graph = integer_graph(model, bits)
    assert operators(graph) == sorted(expected)
    fused = run_passes(graph, fusing_passes())
    for _ in range(2):
        inputs = builder.random_inputs()
        differences = compare_operators(graph, model, inputs)
        assert differences
        for difference in differences:
            assert difference.largest <= 1, (difference.node.op, difference.largest)
            assert difference.count <= max(2, difference.total // 50), "more than rounding differs"
        ours, joined = evaluate(graph, inputs), evaluate(fused, inputs)
        np.testing.assert_array_equal(ours[result.name], joined[result.name])
    return fused


def integer_graph(model: ModelProto, bits: int = 16) -> Graph:
    """Import a model and recognise its operators, without fusing them."""
    return run_passes(import_onnx(model), (*canonical_passes(), *recognising_passes(bits)))


def operators(graph: Graph) -> list[str]:
    """Give the operators of a graph, sorted, without movement and type conversions."""
    moves = ("reshape", "transpose", "to_int8", "to_uint8")
    return sorted(node.op for node in graph.nodes if node.op not in moves)
