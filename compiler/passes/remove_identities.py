"""Removes nodes that give back their input."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node


@dataclass(frozen=True)
class RemoveIdentities:
    """Remove Identity, Dropout, Cast to the same type and Concat of one value.

    Before: `%b = onnx.Dropout(%a)`, `%c = onnx.Relu(%b)`. After: `%c = onnx.Relu(%a)`.
    """

    name: str = "remove-identities"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without such nodes; a copy of an input to an output stays."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if not _is_identity(graph, node):
                continue
            if node.output not in graph.outputs or graph.producer(node.inputs[0]) is not None:
                editor.redirect(node.output, node.inputs[0])
                editor.remove(node)
        return editor.finish()


def _is_identity(graph: Graph, node: Node) -> bool:
    match node.op:
        case "onnx.Identity":
            return True
        case "onnx.Dropout":
            is_training = len(node.inputs) > 2 and node.inputs[2] and not _is_false(graph, node.inputs[2])
            mask = node.outputs[1] if len(node.outputs) > 1 else ""
            is_mask_used = bool(mask) and (mask in graph.outputs or bool(graph.consumers[mask]))
            return not is_training and not is_mask_used
        case "onnx.Cast":
            return graph.dtype(node.inputs[0]) == graph.dtype(node.output) != "other"
        case "onnx.Concat":
            return len(node.inputs) == 1
    return False


def _is_false(graph: Graph, name: str) -> bool:
    array = graph.constant(name)
    return array is not None and not array.any()
