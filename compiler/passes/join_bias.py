"""Joins a matrix product with the bias that is added to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array


@dataclass(frozen=True)
class JoinBias:
    """Write a product of matrices and a constant added to each row of it as one operator.

    Before: `%a = onnx.MatMul(%x, %w)`, `%y = onnx.Add(%a, %b)`. After: `%y = onnx.Gemm(%x, %w, %b)`.
    Meant for models that are quantized afterwards: the sum is then rounded once.
    """

    name: str = "join-bias"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without additions of a constant row to products of two-dimensional values."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op == "onnx.Add":
                _join(editor, node)
        return editor.finish()


def _join(editor: GraphEditor, add: Node) -> None:
    graph = editor.graph
    for product, other in (add.inputs, add.inputs[::-1]):
        source, bias = graph.producer(product), graph.constant(other)
        if source is None or bias is None or not _is_plain_product(graph, source):
            continue
        columns = graph.shape(product)[1]
        if not graph.has_single_use(product) or not _is_row(bias, columns):
            continue
        row = editor.constant(f"{add.output}/bias", np.broadcast_to(bias.reshape(-1), (columns,)).copy())
        origin = (*source.origin, *add.origin)
        editor.node("onnx.Gemm", [*source.inputs, row], [add.output], origin=origin)
        editor.remove(source)
        editor.remove(add)
        return


def _is_plain_product(graph: Graph, node: Node) -> bool:
    is_matrix = all(len(graph.values[name].shape or ()) == 2 for name in node.inputs)
    return node.op == "onnx.MatMul" and is_matrix and graph.constant(node.inputs[1]) is not None


def _is_row(bias: Array, columns: int) -> bool:
    is_flat = all(extent == 1 for extent in bias.shape[:-1])
    return bias.ndim <= 2 and is_flat and bias.size in (1, columns)
