"""Finds the reshapes and transposes that split channels into heads and merge them, and rows that need no reshape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.passes.unify_movement import UnifyMovement

_HEADS_FIRST, _HEADS_TURNED = (0, 2, 1, 3), (0, 2, 3, 1)


@dataclass(frozen=True)
class RecogniseHeads:
    """Replace reshape to heads and transpose by split_heads, transpose and reshape from heads by merge_heads.

    Before: `%a = reshape(%x [1,128,384]) {shape=[1,128,12,32]}`, `%b = transpose(%a) {perm=[0, 2, 1, 3]}`.
    After: `%b = split_heads(%x) {heads=12}`. A transpose that turns each head as well stays as one that does only that.
    Pixels that become rows are moved as images `[N,H,W,C]`.
    Products over rows that were made a matrix before, and brought back after, take the rows as they are.
    """

    name: str = "recognise-heads"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with heads as movement of its own."""
        graph = UnifyMovement().apply(until_stable(graph, _tokens_once))
        graph = UnifyMovement().apply(until_stable(graph, _split_once))
        graph = UnifyMovement().apply(until_stable(graph, _merge_once))
        return UnifyMovement().apply(until_stable(graph, _without_flattening_once))


def _tokens_once(graph: Graph) -> Graph:
    """Make channels the last dimension of an image before its pixels are made rows, not after."""
    for node in graph.nodes:
        before = graph.producer(node.inputs[0]) if node.op == "transpose" else None
        if before is None or before.op != "reshape" or tuple(node["perm"]) != (0, 2, 1):
            continue
        image, rows = graph.shape(before.inputs[0]), graph.shape(before.output)
        if len(image) != 4 or image[:2] != rows[:2]:
            continue
        editor = GraphEditor(graph)
        n, c, h, w = image
        result = (f"{node.output}/pixels", graph.dtype(node.output), (n, h, w, c))
        origin = (*before.origin, *node.origin)
        pixels = editor.emit("transpose", [before.inputs[0]], result, {"perm": (0, 2, 3, 1)}, origin)
        editor.replace(node, op="reshape", inputs=(pixels,), attributes={"shape": graph.shape(node.output)})
        return editor.finish()
    return graph


def _split_once(graph: Graph) -> Graph:
    for node in graph.nodes:
        if node.op != "transpose" or tuple(node["perm"]) not in (_HEADS_FIRST, _HEADS_TURNED):
            continue
        before = graph.producer(node.inputs[0])
        batch, rows, heads, depth = graph.shape(node.inputs[0])
        if before is None or before.op != "reshape" or graph.shape(before.inputs[0])[-1] != heads * depth:
            continue
        editor = GraphEditor(graph)
        kind, origin = graph.dtype(node.output), (*before.origin, *node.origin)
        flat, split = (batch, rows, heads * depth), (batch, heads, rows, depth)
        x = editor.emit("reshape", [before.inputs[0]], (f"{node.output}/rows", kind, flat), {"shape": flat}, origin)
        result = (f"{node.output}/heads", kind, split)
        value = editor.emit("split_heads", [x], result, {"heads": heads}, origin)
        if tuple(node["perm"]) == _HEADS_TURNED:
            turned = (f"{node.output}/turned", kind, graph.shape(node.output))
            value = editor.emit("transpose", [value], turned, {"perm": (0, 1, 3, 2)}, origin)
        editor.redirect(node.output, value)
        editor.remove(node)
        return editor.finish()
    return graph


def _merge_once(graph: Graph) -> Graph:
    for node in graph.nodes:
        before = graph.producer(node.inputs[0]) if node.op == "reshape" else None
        if before is None or before.op != "transpose" or tuple(before["perm"]) != _HEADS_FIRST:
            continue
        batch, heads, rows, depth = graph.shape(before.inputs[0])
        if graph.shape(node.output)[-1:] != (heads * depth,):
            continue
        editor = GraphEditor(graph)
        kind, origin = graph.dtype(node.output), (*before.origin, *node.origin)
        result = (f"{node.output}/merged", kind, (batch, rows, heads * depth))
        merged = editor.emit("merge_heads", [before.inputs[0]], result, {}, origin)
        editor.replace(node, inputs=(merged,))
        return editor.finish()
    return graph


def _without_flattening_once(graph: Graph) -> Graph:
    """Let a product take the rows that a reshape made a matrix of."""
    for node in graph.nodes:
        before = graph.producer(node.inputs[0]) if node.op == "qmatmul" else None
        if before is None or before.op != "reshape" or any(node.inputs[-2:-1]):
            continue
        source, shape = graph.shape(before.inputs[0]), graph.shape(node.output)
        if source[-1] != graph.shape(node.inputs[0])[-1] or prod(source[:-1]) != prod(shape[:-1]):
            continue
        if len(source) <= len(shape) or not _comes_back(graph, node, source):
            continue
        editor = GraphEditor(graph)
        wide = (*source[:-1], shape[-1])
        value = editor.value(f"{node.output}/rows", graph.dtype(node.output), wide)
        editor.replace(node, inputs=(before.inputs[0], *node.inputs[1:]), outputs=(value,))
        editor.node("reshape", [value], [node.output], {"shape": shape}, node.origin)
        return editor.finish()
    return graph


def _comes_back(graph: Graph, node: Node, source: tuple[int, ...]) -> bool:
    """Whether a result is only used with the source's dimensions."""
    users = graph.consumers[node.output]
    rows = [graph.shape(user.output)[: len(source) - 1] for user in users if user.op == "reshape"]
    return bool(users) and len(rows) == len(users) and all(r == source[:-1] for r in rows)
