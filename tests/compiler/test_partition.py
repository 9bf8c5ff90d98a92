"""The reasons for which nodes run on the host."""

from __future__ import annotations

import numpy as np

from tests.compiler.checks import integer_graph
from tests.compiler.quantized_models import ModelBuilder
from tilewright.compiler.partition import host_nodes


def test_reasons(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 10), "uint8")
    norm = builder.quantize(builder.node("LpNormalization", [builder.dequantize(x)]))
    other = builder.dequantize(builder.activation((1, 10)))
    rest = builder.quantize(builder.node("Mod", [builder.dequantize(norm), other], fmod=1))
    graph = integer_graph(builder.model([builder.dequantize(rest)]))
    assert {(entry.node.op, entry.reason) for entry in host_nodes(graph)} == {
        ("to_int8", "converts the model's unsigned input or output"),
        ("onnx.DequantizeLinear", "dequantizes for LpNormalization"),
        ("onnx.LpNormalization", "no integer form of LpNormalization"),
        ("onnx.QuantizeLinear", "quantizes the result of LpNormalization"),
        ("onnx.DequantizeLinear", "dequantizes for Mod"),
        ("onnx.Mod", "no integer form of Mod"),
        ("onnx.QuantizeLinear", "quantizes the result of Mod"),
        ("onnx.DequantizeLinear", "dequantizes an output"),
    }
