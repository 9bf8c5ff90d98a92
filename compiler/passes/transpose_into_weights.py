"""Takes the transpose before a flattened matrix product into the product's weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array


@dataclass(frozen=True)
class TransposeIntoWeights:
    """Reorder the rows of a product's weights instead of its input.

    Before: `%t = transpose(%x: int8[1,3,2,2]) {perm=[0, 2, 3, 1]}`, `%f = reshape(%t) {shape=[1, 12]}`,
    `%y = qmatmul(%f, %w)`. After: `%f' = reshape(%x) {shape=[1, 12]}`, `%y = qmatmul(%f', %w')`.
    The sums have the same terms, so that the result is the same bit for bit.
    """

    name: str = "transpose-into-weights"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without such transposes."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            transpose = _flattened_transpose(graph, node) if node.op == "qmatmul" else None
            if transpose is not None:
                _rewrite(editor, node, transpose)
        return editor.finish()


def _flattened_transpose(graph: Graph, product: Node) -> Node | None:
    """The transpose of all but the first dimension that a product reads flattened to `[first, K]`."""
    reshape = graph.producer(product.inputs[0])
    transpose = graph.producer(reshape.inputs[0]) if reshape is not None and reshape.op == "reshape" else None
    if reshape is None or transpose is None or transpose.op != "transpose" or transpose["perm"][0] != 0:
        return None
    shape = graph.shape(transpose.output)
    return transpose if reshape["shape"] == (shape[0], prod(shape[1:])) else None


def _rewrite(editor: GraphEditor, product: Node, transpose: Node) -> None:
    graph = editor.graph
    weight = graph.constants[qops.operand(product, "weight")]
    depth, columns = weight.shape
    flat = (graph.shape(transpose.output)[0], depth)
    x = editor.emit(
        "reshape", transpose.inputs, (f"{product.output}/flat", "int8", flat), {"shape": flat}, transpose.origin
    )
    moved = _reordered(weight, graph.shape(transpose.output)[1:], transpose["perm"])
    name = editor.constant(f"{product.output}/weight", moved.reshape(depth, columns))
    editor.replace(product, inputs=(x, name, *product.inputs[2:]))


def _reordered(weight: Array, extents: tuple[int, ...], perm: tuple[int, ...]) -> Array:
    """Weights `[K, N]` of an input of the given extents, in the order of the untransposed input."""
    inverse = [perm.index(axis) - 1 for axis in range(1, len(perm))]
    rows = weight.reshape(*extents, weight.shape[1])
    return np.ascontiguousarray(rows.transpose(*inverse, len(inverse)))
