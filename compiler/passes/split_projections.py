"""Splits one projection to queries, keys and values into three."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array


@dataclass(frozen=True)
class SplitProjections:
    """Compute each part of a projection by itself, where nothing else reads the whole.

    Before: `%a = onnx.Reshape(onnx.Gemm(%x, %w, %b)) [1,N,3,H,D]`, `%t = onnx.Transpose(%a) {perm=[2, 0, 3, 1, 4]}`,
    `%q = onnx.Gather(%t, 0)`, ...
    After: `%q = onnx.Transpose(onnx.Reshape(onnx.Gemm(%x, %w[:, :H*D], %b[:H*D])) [1,N,H,D]) {perm=[0, 2, 1, 3]}`, ...
    Meant for models that are quantized afterwards: each part then has a scale of its own.
    """

    name: str = "split-projections"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with a projection for each part."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op == "onnx.Transpose":
                _split(editor, node)
        return editor.finish()


def _split(editor: GraphEditor, transpose: Node) -> None:
    graph = editor.graph
    projection = _projection(graph, transpose)
    if projection is None or transpose.output in graph.outputs:
        return
    parts = list(_parts(graph, transpose))
    batch, rows, count, heads, depth = graph.shape(transpose.inputs[0])
    weight = graph.constants[projection.inputs[1]]
    if (
        None in parts
        or len(parts) != len(graph.consumers[transpose.output])
        or weight.shape[1] != count * heads * depth
    ):
        return
    perm = tuple(axis - (axis > 2) for axis in transpose["perm"] if axis != 2)
    for part in parts:
        assert part is not None
        gather, index = part
        columns = slice(index * heads * depth, (index + 1) * heads * depth)
        origin = (*projection.origin, *gather.origin)
        constants = [editor.constant(f"{gather.output}/weight", weight[:, columns].copy())]
        if len(projection.inputs) > 2:
            bias = np.broadcast_to(graph.constants[projection.inputs[2]], weight.shape[1:])
            constants.append(editor.constant(f"{gather.output}/bias", bias[columns].copy()))
        kind = graph.dtype(gather.output)
        result = (f"{gather.output}/projection", kind, (batch * rows, heads * depth))
        value = editor.emit("onnx.Gemm", [projection.inputs[0], *constants], result, origin=origin)
        shape = editor.constant(f"{gather.output}/shape", np.array([batch, rows, heads, depth]))
        split = (f"{gather.output}/split", kind, (batch, rows, heads, depth))
        value = editor.emit("onnx.Reshape", [value, shape], split, origin=origin)
        editor.node("onnx.Transpose", [value], [gather.output], {"perm": perm}, origin)
        editor.remove(gather)


def _projection(graph: Graph, transpose: Node) -> Node | None:
    """The Gemm behind a transpose that moves the third of five dimensions to the front."""
    if graph.values[transpose.inputs[0]].shape is None or len(graph.shape(transpose.inputs[0])) != 5:
        return None
    if tuple(transpose.get("perm", ()))[:1] != (2,):
        return None
    node = graph.producer(transpose.inputs[0])
    while node is not None and node.op == "onnx.Reshape" and graph.has_single_use(node.output):
        node = graph.producer(node.inputs[0])
    if node is None or node.op != "onnx.Gemm" or not graph.has_single_use(node.output):
        return None
    is_plain = node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0 and not node.get("transB", 0)
    return node if is_plain and all(graph.constant(name) is not None for name in node.inputs[1:]) else None


def _parts(graph: Graph, transpose: Node) -> Iterator[tuple[Node, int] | None]:
    """Yield who takes which part of a transposed value; None for another use."""
    for user in graph.consumers[transpose.output]:
        index: Array | None = graph.constant(user.inputs[1]) if user.op == "onnx.Gather" else None
        if index is None or index.ndim or user.get("axis", 0) or user.inputs[0] != transpose.output:
            yield None
        else:
            yield user, int(index) % graph.shape(transpose.output)[0]
