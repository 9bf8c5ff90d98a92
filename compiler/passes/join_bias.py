"""Joins a matrix product with the bias that is added to it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array


@dataclass(frozen=True)
class JoinBias:
    """Write a product of matrices and a constant added to each row of it as one operator.

    Before: `%a = onnx.MatMul(%x, %w)`, `%y = onnx.Add(%a, %b)`. After: `%y = onnx.Gemm(%x, %w, %b)`, between reshapes
    where `x` has more than two dimensions.
    Meant for models that are quantized afterwards: the sum is then rounded once.
    """

    name: str = "join-bias"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without additions of a constant row to products with a constant matrix."""
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
        columns = graph.shape(product)[-1]
        if not graph.has_single_use(product) or not _is_row(bias, columns):
            continue
        row = editor.constant(f"{add.output}/bias", np.broadcast_to(bias.reshape(-1), (columns,)).copy())
        origin = (*source.origin, *add.origin)
        x, shape = source.inputs[0], graph.shape(source.inputs[0])
        editor.remove(source)
        editor.remove(add)
        if len(shape) == 2:
            editor.node("onnx.Gemm", [x, source.inputs[1], row], [add.output], origin=origin)
            return
        rows, dtype = prod(shape[:-1]), graph.dtype(x)
        extents = [
            editor.constant(f"{add.output}/shape", np.array(s)) for s in ((-1, shape[-1]), (*shape[:-1], columns))
        ]
        flat = editor.emit("onnx.Reshape", [x, extents[0]], (f"{x}/rows", dtype, (rows, shape[-1])), origin=origin)
        result = (f"{add.output}/rows", dtype, (rows, columns))
        summed = editor.emit("onnx.Gemm", [flat, source.inputs[1], row], result, origin=origin)
        editor.node("onnx.Reshape", [summed, extents[1]], [add.output], origin=origin)
        return


def _is_plain_product(graph: Graph, node: Node) -> bool:
    shapes = [graph.values[name].shape or () for name in node.inputs]
    is_matrix = node.op == "onnx.MatMul" and len(shapes[0]) >= 2 and len(shapes[1]) == 2
    return is_matrix and graph.constant(node.inputs[1]) is not None


def _is_row(bias: Array, columns: int) -> bool:
    is_flat = all(extent == 1 for extent in bias.shape[:-1])
    return is_flat and bias.size in (1, columns)
