"""The reasons for which nodes run on the host."""

from __future__ import annotations

import numpy as np

from tests.compiler.checks import integer_graph
from tests.compiler.quantized_models import ModelBuilder
from tilewright.compiler.partition import host_nodes


def test_reasons(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 10), "uint8")
    softmax = builder.quantize(builder.node("Softmax", [builder.dequantize(x)]))
    other = builder.dequantize(builder.activation((1, 10)))
    product = builder.quantize(builder.node("Mul", [builder.dequantize(softmax), other]))
    graph = integer_graph(builder.model([builder.dequantize(product)]))
    assert {(entry.node.op, entry.reason) for entry in host_nodes(graph)} == {
        ("to_int8", "converts the model's unsigned input or output"),
        ("onnx.DequantizeLinear", "dequantizes for Softmax"),
        ("onnx.Softmax", "no integer form of Softmax"),
        ("onnx.QuantizeLinear", "quantizes the result of Softmax"),
        ("onnx.DequantizeLinear", "dequantizes for Mul"),
        ("onnx.Mul", "no integer form of Mul"),
        ("onnx.QuantizeLinear", "quantizes the result of Mul"),
        ("onnx.DequantizeLinear", "dequantizes an output"),
    }
