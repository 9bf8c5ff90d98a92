"""Brings data movement to two operators, reshape and transpose, and merges them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Shape
from tilewright.compiler.passes.base import until_stable

_RESHAPES = ("onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze")


@dataclass(frozen=True)
class UnifyMovement:
    """Replace Reshape, Flatten, Squeeze and Unsqueeze by reshape, Transpose by transpose; merge what follows itself.

    Before: `%a = onnx.Transpose(%x) {perm=[0, 3, 1, 2]}`, `%b = onnx.Transpose(%a) {perm=[0, 2, 3, 1]}`.
    After: `%x` in the place of `%b`. A transpose that only moves dimensions of one element becomes a reshape.
    """

    name: str = "unify-movement"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with movement in its shortest form."""
        return until_stable(_converted(graph), _merge_once)


def _converted(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        is_known = all(graph.values[name].shape is not None for name in (node.inputs[:1] + node.outputs[:1]) if name)
        if node.op in _RESHAPES and is_known and _keeps_size(graph, node):
            attributes = {"shape": graph.shape(node.output)}
            editor.replace(node, op="reshape", inputs=node.inputs[:1], attributes=attributes)
        elif node.op == "onnx.Transpose" and is_known:
            rank = len(graph.shape(node.output))
            perm = tuple(node.get("perm", range(rank - 1, -1, -1)))
            editor.replace(node, op="transpose", attributes={"perm": perm})
    return editor.finish()


def _keeps_size(graph: Graph, node: Node) -> bool:
    """Whether there are as many elements after as before: ONNX's shape inference does not look where all are given."""
    return prod(graph.shape(node.inputs[0])) == prod(graph.shape(node.output))


def _merge_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    has_changed = False
    for node in graph.nodes:
        if node.op not in ("reshape", "transpose"):
            continue
        source = graph.producer(node.inputs[0])
        if _is_identity(graph, node):
            editor.redirect(node.output, node.inputs[0])
            editor.remove(node)
        elif node.op == "transpose" and _keeps_order(graph.shape(node.inputs[0]), node["perm"]):
            editor.replace(node, op="reshape", attributes={"shape": graph.shape(node.output)})
        elif source is not None and source.op == node.op:
            editor.replace(node, **_merged(source, node))
        else:
            continue
        has_changed = True
    return editor.finish() if has_changed else graph


def _is_identity(graph: Graph, node: Node) -> bool:
    if node.op == "reshape":
        return graph.shape(node.inputs[0]) == graph.shape(node.output)
    return tuple(node["perm"]) == tuple(range(len(node["perm"])))


def _keeps_order(shape: Shape, perm: tuple[int, ...]) -> bool:
    """Whether a permutation moves nothing but dimensions of one element."""
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _merged(first: Node, second: Node) -> dict[str, object]:
    attributes = dict(second.attributes)
    if second.op == "transpose":
        attributes = {"perm": tuple(first["perm"][axis] for axis in second["perm"])}
    origin = tuple(dict.fromkeys((*first.origin, *second.origin)))
    return {"inputs": first.inputs, "attributes": attributes, "origin": origin}
