"""Leaves out sums and products with neutral constants, and joins constants that are added one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.base import until_stable

_NEUTRAL = {"onnx.Add": 0, "onnx.Sub": 0, "onnx.Mul": 1, "onnx.Div": 1}


@dataclass(frozen=True)
class SimplifyConstants:
    """Remove what does nothing; add once what is added twice; write a sum over elements by their number as a mean.

    Before: `%a = onnx.Add(%x, 0)`, `%b = onnx.Add(onnx.Add(%a, %c), %d)`, `%y = onnx.Div(onnx.ReduceSum(%b), n)`.
    After: `%b = onnx.Add(%x, %c + %d)`, `%y = onnx.ReduceMean(%b)`.
    Masks that keep everything fall away so.
    """

    name: str = "simplify-constants"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with fewer operations on constants."""
        return until_stable(graph, _simplify_once)


def _simplify_once(graph: Graph) -> Graph:
    for node in graph.nodes:
        editor = GraphEditor(graph)
        if _remove_neutral(editor, node) or _join_sums(editor, node) or _write_as_mean(editor, node):
            return editor.finish()
    return graph


def _remove_neutral(editor: GraphEditor, node: Node) -> bool:
    graph = editor.graph
    if node.op not in _NEUTRAL or node.output in graph.outputs:
        return False
    is_commutative = node.op in ("onnx.Add", "onnx.Mul")
    for value, other in (node.inputs, node.inputs[::-1])[: 1 + is_commutative]:
        array = graph.constant(other)
        shape = graph.values[value].shape
        is_same = shape is not None and shape == graph.values[node.output].shape
        if array is not None and is_same and np.all(array == _NEUTRAL[node.op]):
            editor.redirect(node.output, value)
            editor.remove(node)
            return True
    return False


def _join_sums(editor: GraphEditor, node: Node) -> bool:
    """Add the sum of two constants instead of one after the other."""
    graph = editor.graph
    outer = _constant_addend(graph, node)
    before = graph.producer(outer[0]) if outer is not None else None
    inner = _constant_addend(graph, before) if before is not None else None
    if outer is None or before is None or inner is None or not graph.has_single_use(before.output):
        return False
    joined = editor.constant(f"{node.output}/sum", np.asarray(inner[1] + outer[1]).astype(inner[1].dtype))
    editor.replace(node, inputs=(inner[0], joined), origin=(*before.origin, *node.origin))
    editor.remove(before)
    return True


def _constant_addend(graph: Graph, node: Node) -> tuple[str, Array] | None:
    if node.op != "onnx.Add" or graph.dtype(node.output) != "float32":
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        array = graph.constant(other)
        if array is not None and graph.constant(value) is None:
            return value, array
    return None


def _write_as_mean(editor: GraphEditor, node: Node) -> bool:
    """A sum divided by the number of what is added."""
    graph = editor.graph
    if node.op != "onnx.Div" or graph.opsets.get("", 0) < 18:  # ReduceMean takes its axes as an input from there on
        return False
    total, count = graph.producer(node.inputs[0]), graph.constant(node.inputs[1])
    if total is None or count is None or total.op != "onnx.ReduceSum" or not graph.has_single_use(total.output):
        return False
    shape, result = graph.values[total.inputs[0]].shape, graph.values[total.output].shape
    is_same = result is not None and result == graph.values[node.output].shape
    if shape is None or not is_same or not np.all(count == prod(shape) // max(prod(result or ()), 1)):
        return False
    editor.node("onnx.ReduceMean", total.inputs, [node.output], total.attributes, (*total.origin, *node.origin))
    editor.remove(total)
    editor.remove(node)
    return True
