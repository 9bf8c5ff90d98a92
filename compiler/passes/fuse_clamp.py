"""Takes a clamp into the epilogue of the operator before it."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.base import until_stable


@dataclass(frozen=True)
class FuseClamp:
    """Narrow the clamp of an operator whose only use is a qclamp.

    Before: `%a = qconv2d(...)`, `%b = qclamp(%a) {low=0, high=127}`.
    After: `%b = qconv2d(...) {epilogue=Epilogue(clamp_low=0, clamp_high=127)}`.
    """

    name: str = "fuse-clamp"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every clamp fused that can be."""
        return until_stable(graph, _fuse_once)


def _fuse_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        before = graph.producer(node.inputs[0]) if node.op == "qclamp" else None
        if before is None or "epilogue" not in before.attributes or not graph.has_single_use(before.output):
            continue
        if qops.operand(before, "table"):
            continue
        epilogue = before["epilogue"].clamped(node["low"], node["high"])
        attributes = {**before.attributes, "epilogue": epilogue}
        editor.replace(before, outputs=node.outputs, attributes=attributes, origin=(*before.origin, *node.origin))
        editor.remove(node)
        return editor.finish()
    return graph
