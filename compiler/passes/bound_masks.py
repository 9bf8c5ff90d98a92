"""Gives masks of attention a bounded value, which eight bits beside scores can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node

#: What is added to scores that do not count: `exp(-64)` is nothing beside 1.
BOUND = -64.0

_LARGE = -1000.0
_PASSED = frozenset(f"onnx.{op}" for op in ("Add", "Reshape", "Unsqueeze", "Expand", "Identity", "Cast"))
_MOST_NODES = 64


@dataclass(frozen=True)
class BoundMasks:
    """Multiply masks by -64 instead of by -10000 or the least number of float32.

    Before: `%m = onnx.Mul(%kept, -10000)`, `%s = onnx.Add(%scores, %m)`, `%p = onnx.Softmax(%s)`.
    After: `%m = onnx.Mul(%kept, -64)`.
    """

    name: str = "bound-masks"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with bounded masks."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op != "onnx.Mul" or not _reaches_softmax(graph, node):
                continue
            arrays = [graph.constant(name) for name in node.inputs]
            is_large = [a is not None and a.size == 1 and float(a.reshape(())) <= _LARGE for a in arrays]
            if sum(is_large) != 1:
                continue
            given = arrays[is_large.index(True)]
            assert given is not None
            bound = editor.constant(f"{node.output}/bound", np.full(given.shape, BOUND, given.dtype))
            inputs = tuple(bound if large else name for name, large in zip(node.inputs, is_large, strict=True))
            editor.replace(node, inputs=inputs)
        return editor.finish()


def _reaches_softmax(graph: Graph, node: Node) -> bool:
    """Whether a value is only added and moved before a softmax takes it."""
    pending, seen = [node], 0
    found = False
    while pending and seen < _MOST_NODES:
        for user in graph.consumers[pending.pop().output]:
            seen += 1
            if user.op == "onnx.Softmax":
                found = True
            elif user.op in _PASSED:
                pending.append(user)
            else:
                return False
    return found
