"""Turns quantized matrix products with constant weights into qmatmul."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import (
    Unsuitable,
    Weights,
    real_constant,
    required_source,
    weights_of,
)
from tilewright.compiler.passes.scaling import folded_bias, scaling_constants, within_32_bits
from tilewright.compiler.passes.wide_weights import narrowed

_PRODUCTS = ("onnx.MatMul", "onnx.Gemm")


@dataclass(frozen=True)
class RecogniseMatMul:
    """Replace DequantizeLinear, MatMul or Gemm (Add of a constant) (Relu, Clip) QuantizeLinear.

    Before: `%f = onnx.MatMul(dequantized x, w)`, `%g = onnx.Add(%f, b)`, `%y: int8 = onnx.QuantizeLinear(%g)`.
    After: `%y: int8 = qmatmul(x, w, bias, multiplier, shift)`.
    """

    multiplier_bits: int = 16
    name: str = "recognise-matmul"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable product as qmatmul."""
        rules = {"onnx.MatMul": self._product, "onnx.Gemm": self._product, "onnx.Add": self._biased_product}
        return rewrite_quantized(graph, rules)

    def _product(self, editor: GraphEditor, result: QuantizedResult) -> str:
        assert result.core is not None
        return self._build(editor, result, result.core, None)

    def _biased_product(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, add = editor.graph, result.core
        assert add is not None
        for name, other in (add.inputs, reversed(add.inputs)):
            product, addend = graph.producer(name), real_constant(graph, other)
            if product is not None and product.op in _PRODUCTS and addend is not None:
                return self._build(editor, result, product, addend)
        raise Unsuitable(add.reason)  # some other sum; what an earlier pass said of it stays

    def _build(self, editor: GraphEditor, result: QuantizedResult, product: Node, addend: Array | None) -> str:
        graph = editor.graph
        x = required_source(graph, product.inputs[0])
        weights = _weights(graph, product)
        depth, columns = weights.array.shape
        shape = graph.shape(result.name)
        if shape != (*graph.shape(x.name)[:-1], columns) or graph.shape(x.name)[-1] != depth:
            raise Unsuitable("its operands broadcast")
        bias = _bias(graph, product, addend, columns)
        weights = within_32_bits(weights, 1, x.quantization, bias)
        folded = folded_bias(weights, 1, x.quantization, bias)
        factors = x.quantization.scale * weights.scales / result.quantization.scale
        scaling = scaling_constants(editor, result.name, folded, factors, self.multiplier_bits)
        x_name, weights = narrowed(editor, x.name, weights, 0, 1, len(shape) - 1)
        weight = editor.constant(f"{result.name}/weight", np.ascontiguousarray(weights.array))
        attributes = {"zero_in": x.quantization.zero, "epilogue": result.epilogue}
        inputs = (x_name, weight, *scaling, "", "")
        origin = (*product.origin, *result.origin)
        return editor.emit("qmatmul", inputs, (f"{result.name}/matmul", "int8", shape), attributes, origin)


def _weights(graph: Graph, product: Node) -> Weights:
    """The weights as `[K, N]`."""
    if product.op == "onnx.Gemm" and (product.get("alpha", 1.0) != 1.0 or product.get("transA", 0)):
        raise Unsuitable("Gemm with alpha or transA")
    if product.op == "onnx.Gemm" and product.get("transB", 0):
        weights = weights_of(graph, product.inputs[1], axis=0, may_be_wide=True)
        return Weights(weights.array.T, weights.scales)
    if len(graph.shape(product.inputs[1])) != 2:
        raise Unsuitable("its weights are not a matrix")
    return weights_of(graph, product.inputs[1], axis=1, may_be_wide=True)


def _bias(graph: Graph, product: Node, addend: Array | None, columns: int) -> Array | None:
    """The sum of Gemm's own bias and an addend, real, `[N]`."""
    parts = [] if addend is None else [addend]
    own = product.inputs[2] if len(product.inputs) > 2 else ""
    if own:
        bias = real_constant(graph, own)
        if bias is None:
            raise Unsuitable("its bias is not constant")
        parts.append(bias * product.get("beta", 1.0))
    if not parts:
        return None
    for part in parts:
        if part.size not in (1, columns) or (part.size > 1 and part.shape[-1] != columns):
            raise Unsuitable("the constant added to it is not one for each column")
    return np.asarray(sum(np.broadcast_to(part.reshape(-1), (columns,)) for part in parts))
