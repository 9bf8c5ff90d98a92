"""What onnxruntime's static quantizer writes is recognised whole, in each of its formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.compiler.checks import integer_graph
from tilewright.compiler.graph import Graph
from tilewright.compiler.onnxruntime_check import compare_operators
from tilewright.compiler.partition import host_nodes
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import fusing_passes

SHAPE = (1, 3, 16, 16)
BORDERS = {
    "quantizes an input",
    "dequantizes an output",
    "converts the model's unsigned input or output",
}


class RandomInputs(CalibrationDataReader):
    """Four random images."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.images = iter([{"x": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.images, None)


def float_network(rng: np.random.Generator) -> ModelProto:
    """A small network with every kind of layer that convolutional networks have."""
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}

    def layer(op: str, inputs: list[str], *arrays: np.ndarray, **attributes: Any) -> str:
        output = f"{op.lower()}{len(nodes)}"
        names = [f"{output}.{i}" for i in range(len(arrays))]
        constants.update(zip(names, arrays, strict=True))
        nodes.append(helper.make_node(op, [*inputs, *names], [output], output, **attributes))
        return output

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def conv(x: str, ci: int, co: int, kernel: int, group: int = 1, stride: int = 1) -> str:
        arrays = weights(co, ci // group, kernel, kernel), weights(co, 1)[:, 0]
        pads = [kernel // 2] * 4
        return layer("Conv", [x], *arrays, pads=pads, group=group, strides=[stride] * 2)

    x = layer("Relu", [conv("x", 3, 8, 3)])
    x = layer("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    y = layer("Clip", [conv(x, 8, 8, 3, group=8)], np.float32(0), np.float32(6))
    x = layer("Relu", [layer("Add", [conv(y, 8, 8, 1), x])])
    gate = layer("Sigmoid", [conv(x, 8, 8, 1)])
    x = layer("Concat", [gate, conv(x, 8, 4, 3)], axis=1)
    x = layer("AveragePool", [conv(x, 12, 16, 3, stride=2)], kernel_shape=[2, 2], strides=[2, 2])
    x = layer("Flatten", [layer("GlobalAveragePool", [x])])
    x = layer("Gemm", [x], weights(10, 16), weights(10, 1)[:, 0], transB=1)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_network(
    form: QuantFormat, activations: QuantType, per_channel: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    onnx.save(float_network(rng), tmp_path / "float.onnx")
    quantized = tmp_path / "quantized.onnx"
    quantize_static(
        tmp_path / "float.onnx",
        quantized,
        RandomInputs(),
        quant_format=form,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    graph = integer_graph(onnx.load(quantized))
    inputs = {"x": rng.normal(size=SHAPE).astype(np.float32)}
    differences = compare_operators(graph, quantized, inputs)
    assert max(difference.largest for difference in differences) <= 1
    assert {entry.reason for entry in host_nodes(graph)} <= BORDERS
    assert _counts(graph, "qconv2d", "qmatmul", "qadd", "qconcat", "qmaxpool") == [6, 1, 1, 1, 1]
    fused = run_passes(graph, fusing_passes())
    assert _counts(fused, "qadd", "qclamp", "qtable") == [0, 0, 0]


def _counts(graph: Graph, *ops: str) -> list[int]:
    return [sum(node.op == op for node in graph.nodes) for op in ops]
