"""Takes the scale of attention into the weights of a projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable

_MOVES = ("onnx.Reshape", "onnx.Transpose", "onnx.Squeeze", "onnx.Unsqueeze", "onnx.Flatten")


@dataclass(frozen=True)
class FoldProductScale:
    """Scale a projection's weights and bias instead of the product of two activations, or of one of its operands.

    Before: `%q = onnx.Gemm(%x, %w, %b)`, `%p = onnx.MatMul(%q, %k)`, `%y = onnx.Div(%p, 8)`.
    After: `%q = onnx.Gemm(%x, %w / 8, %b / 8)`, `%y = onnx.MatMul(%q, %k)`.
    Reshapes and transposes may stand between. Meant for models that are quantized afterwards: the product is then
    rounded once.
    """

    name: str = "fold-product-scale"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without scales at products of activations whose operands are projections."""
        return until_stable(graph, _fold_once)


def _fold_once(graph: Graph) -> Graph:
    for node in graph.nodes:
        scaled = _scaled(graph, node)
        if scaled is None:
            continue
        value, factor = scaled
        projection = next(_projections(graph, value), None)
        if projection is None:
            continue
        editor = GraphEditor(graph)
        weight, *bias = projection.inputs[1:]
        constants = [
            editor.constant(f"{name}/scaled", (graph.constants[name] * factor).astype(graph.constants[name].dtype))
            for name in (weight, *filter(None, bias))
        ]
        editor.replace(projection, inputs=(projection.inputs[0], *constants))
        editor.redirect(node.output, value)
        editor.remove(node)
        return editor.finish()
    return graph


def _scaled(graph: Graph, node: Node) -> tuple[str, float] | None:
    """The value that a node multiplies by a constant, and that constant."""
    if node.op not in ("onnx.Mul", "onnx.Div") or graph.values[node.output].shape is None:
        return None
    pairs = (node.inputs, node.inputs[::-1]) if node.op == "onnx.Mul" else (node.inputs,)
    for value, other in pairs:
        array = graph.constant(other)
        if array is not None and array.size == 1 and graph.values[value].shape == graph.shape(node.output):
            factor = float(array.reshape(()))
            if factor and np.isfinite(factor):
                return value, factor if node.op == "onnx.Mul" else 1 / factor
    return None


def _projections(graph: Graph, value: str) -> Iterator[Node]:
    """Yield products with constant weights that may be scaled instead of a value."""
    node = graph.producer(value)
    while node is not None and node.op in _MOVES and graph.has_single_use(node.output):
        node = graph.producer(node.inputs[0])
    if node is None or not graph.has_single_use(node.output):
        return
    if node.op == "onnx.MatMul" and not any(graph.constant(name) is not None for name in node.inputs):
        for name in node.inputs:
            yield from _projections(graph, name)
    elif node.op in ("onnx.MatMul", "onnx.Gemm"):
        is_plain = node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0
        if is_plain and all(graph.constant(name) is not None for name in node.inputs[1:] if name):
            yield node
