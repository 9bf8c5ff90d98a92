"""Writes QOperator nodes as DequantizeLinear, the float operator and QuantizeLinear.

Both forms mean the same, so that one set of passes recognises both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_MICROSOFT = "com.microsoft"


class Decomposition:
    """Collects the nodes that one QOperator node becomes."""

    def __init__(self, node: NodeProto, constants: dict[str, TensorProto]) -> None:
        self.source = node
        self.constants = constants
        self.nodes: list[NodeProto] = []
        self.attributes = {attribute.name: attribute for attribute in node.attribute}

    def input(self, position: int) -> str:
        """The name of an input, `""` when it is left out."""
        return self.source.input[position] if position < len(self.source.input) else ""

    def attribute(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.attributes[name].i if name in self.attributes else default

    def emit(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node under the original's name; give its output, which is new unless named."""
        output = output or f"{self.source.output[0]}/{op}_{len(self.nodes)}"
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(helper.make_node(op, inputs, [output], name=self.source.name, **attributes))
        return output

    def emit_core(self, op: str, inputs: list[str], drop: tuple[str, ...] = ()) -> str:
        """Add the float operator with the original's attributes."""
        output = self.emit(op, inputs)
        kept = [attribute for name, attribute in self.attributes.items() if name not in drop]
        self.nodes[-1].attribute.extend(kept)
        return output

    def dequantize(self, first: int, axis: int | None = None, value: str = "") -> str:
        """Dequantize the inputs (tensor, scale, zero point) that begin at position `first`."""
        inputs = [value or self.input(first), self.input(first + 1), self.input(first + 2)]
        scale = self.constants.get(inputs[1])
        if axis is not None and scale is not None and scale.dims and scale.dims[0] > 1:
            inputs[2] = self._spread(inputs[2], scale.dims[0])
            return self.emit("DequantizeLinear", inputs, axis=axis)
        return self.emit("DequantizeLinear", [inputs[0], *(self._scalar(name) for name in inputs[1:])])

    def quantize(self, value: str, first: int) -> None:
        """Quantize to the node's output with the (scale, zero point) inputs that begin at position `first`."""
        scale, zero = (self._scalar(self.input(first + i)) for i in range(2))
        self.emit("QuantizeLinear", [value, scale, zero], self.source.output[0])

    def dequantize_bias(self, position: int, x_scale: int, w_scale: int) -> str:
        """Dequantize an int32 bias whose scale is the product of two other scales."""
        if not self.input(position):
            return ""
        factors = [self.constants.get(self.input(i)) for i in (x_scale, w_scale)]
        if any(factor is None for factor in factors):
            scale = self.emit("Mul", [self.input(x_scale), self.input(w_scale)])
        else:
            arrays = [numpy_helper.to_array(factor) for factor in factors if factor is not None]
            scale = self.constant("bias_scale", np.asarray(arrays[0] * arrays[1], np.float32))
        product = self.constants.get(scale)
        is_vector = product is not None and int(np.prod(product.dims)) > 1
        if is_vector:
            return self.emit("DequantizeLinear", [self.input(position), scale], axis=0)
        return self.emit("DequantizeLinear", [self.input(position), self._scalar(scale)])

    def constant(self, suffix: str, array: np.ndarray) -> str:
        """Add a constant and give its name."""
        name = f"{self.source.output[0]}/{suffix}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def _spread(self, zero: str, channels: int) -> str:
        """A zero point for every channel, as DequantizeLinear wants beside a scale for every channel."""
        tensor = self.constants.get(zero)
        if tensor is None or int(np.prod(tensor.dims)) == channels:
            return zero
        return self.constant("zero_points", np.full(channels, numpy_helper.to_array(tensor).reshape(())))

    def _scalar(self, name: str) -> str:
        """A one-element constant as a scalar: what QuantizeLinear wants of a per-tensor scale."""
        tensor = self.constants.get(name)
        if tensor is None or not tensor.dims:
            return name
        array = numpy_helper.to_array(tensor)
        if array.size != 1:
            return name
        scalar = f"{name}/scalar"
        self.constants[scalar] = numpy_helper.from_array(array.reshape(()), scalar)
        return scalar


def _conv(d: Decomposition) -> None:
    x, w = d.dequantize(0), d.dequantize(3, axis=0)
    bias = d.dequantize_bias(8, 1, 4)
    d.quantize(d.emit_core("Conv", [x, w, bias], drop=("channels_last",)), 6)


def _matmul(d: Decomposition) -> None:
    a, b = d.dequantize(0), d.dequantize(3, axis=1)
    d.quantize(d.emit("MatMul", [a, b]), 6)


def _gemm(d: Decomposition) -> None:
    a, b = d.dequantize(0), d.dequantize(3, axis=0 if d.attribute("transB", 0) else 1)
    bias = d.dequantize_bias(6, 1, 4)
    y = d.emit_core("Gemm", [a, b, bias])
    if d.input(7):
        d.quantize(y, 7)
    else:
        d.emit("Identity", [y], d.source.output[0])


def _binary(op: str) -> Callable[[Decomposition], None]:
    def build(d: Decomposition) -> None:
        d.quantize(d.emit(op, [d.dequantize(0), d.dequantize(3)]), 6)

    return build


def _unary(op: str) -> Callable[[Decomposition], None]:
    def build(d: Decomposition) -> None:
        d.quantize(d.emit_core(op, [d.dequantize(0)]), 3)

    return build


def _pool(op: str) -> Callable[[Decomposition], None]:
    def build(d: Decomposition) -> None:
        x = d.dequantize(0)
        if not d.attribute("channels_last", 0):
            d.quantize(d.emit_core(op, [x], drop=("channels_last",)), 3)
            return
        planes = d.emit("Transpose", [x], perm=[0, 3, 1, 2])
        pooled = d.emit_core(op, [planes], drop=("channels_last",))
        d.quantize(d.emit("Transpose", [pooled], perm=[0, 2, 3, 1]), 3)

    return build


def _softmax(d: Decomposition) -> None:
    d.quantize(d.emit_core("Softmax", [d.dequantize(0)], drop=("opset",)), 3)


def _concat(d: Decomposition) -> None:
    parts = [d.dequantize(first) for first in range(2, len(d.source.input), 3)]
    d.quantize(d.emit_core("Concat", parts), 0)


def _quantize(d: Decomposition) -> None:
    d.emit("QuantizeLinear", list(d.source.input), d.source.output[0], axis=d.attribute("axis", 1))


def _dequantize(d: Decomposition) -> None:
    d.emit("DequantizeLinear", list(d.source.input), d.source.output[0], axis=d.attribute("axis", 1))


_RULES: Mapping[tuple[str, str], Callable[[Decomposition], None]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (_MICROSOFT, "QLinearConv"): _conv,
    (_MICROSOFT, "QGemm"): _gemm,
    (_MICROSOFT, "QLinearAdd"): _binary("Add"),
    (_MICROSOFT, "QLinearMul"): _binary("Mul"),
    (_MICROSOFT, "QLinearSigmoid"): _unary("Sigmoid"),
    (_MICROSOFT, "QLinearLeakyRelu"): _unary("LeakyRelu"),
    (_MICROSOFT, "QLinearAveragePool"): _pool("AveragePool"),
    (_MICROSOFT, "QLinearGlobalAveragePool"): _pool("GlobalAveragePool"),
    (_MICROSOFT, "QLinearSoftmax"): _softmax,
    (_MICROSOFT, "QLinearConcat"): _concat,
    (_MICROSOFT, "QuantizeLinear"): _quantize,
    (_MICROSOFT, "DequantizeLinear"): _dequantize,
}


def decompose_qoperators(model: ModelProto) -> None:
    """Rewrite the model's QOperator nodes in place."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    present = set(constants)
    nodes: list[NodeProto] = []
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        rule = _RULES.get((domain, node.op_type))
        if rule is None or (node.op_type == "QLinearConv" and _is_channels_last(node)):
            nodes.append(node)
            continue
        decomposition = Decomposition(node, constants)
        rule(decomposition)
        nodes.extend(decomposition.nodes)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensor for name, tensor in constants.items() if name not in present)


def _is_channels_last(node: NodeProto) -> bool:
    return any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
