"""Takes a table into the epilogue of the operator before it."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.base import until_stable


@dataclass(frozen=True)
class FuseTable:
    """Give an operator whose only use is a qtable that table.

    Before: `%a = qconv2d(%x, ..., _)`, `%b = qtable(%a, %t)`. After: `%b = qconv2d(%x, ..., %t)`.
    """

    name: str = "fuse-table"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every table fused that can be."""
        return until_stable(graph, _fuse_once)


def _fuse_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        before = graph.producer(node.inputs[0]) if node.op == "qtable" else None
        if before is None or not graph.has_single_use(before.output) or before.op == "qtable":
            continue
        if not qops.has_operand(before.op, "table") or qops.operand(before, "table"):
            continue
        inputs = qops.with_operand(before, "table", qops.operand(node, "table"))
        editor.replace(before, inputs=inputs, outputs=node.outputs, origin=(*before.origin, *node.origin))
        editor.remove(node)
        return editor.finish()
    return graph
