"""Takes padding into the convolution or pooling behind it."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.qops import INT8_MIN


@dataclass(frozen=True)
class FusePad:
    """Widen the pads of an operator that reads a qpad of the value that it pads with itself.

    Before: `%a = qpad(%x) {value=-3}`, `%y = qconv2d(%a, ...) {pads=[0, 0, 0, 0], zero_in=-3}`.
    After: `%y = qconv2d(%x, ...) {pads=[1, 1, 1, 1], zero_in=-3}`.
    """

    name: str = "fuse-pad"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every padding fused that can be."""
        return until_stable(graph, _fuse_once)


def _fuse_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    has_changed = False
    for node in graph.nodes:
        pad = graph.producer(node.inputs[0]) if node.op in ("qconv2d", "qmaxpool") else None
        if pad is None or pad.op != "qpad" or pad["value"] != _own_padding(node) or not _is_spatial(pad):
            continue
        top, left, bottom, right = (pad["pads"][i] for i in (2, 3, 6, 7))
        own = node["pads"]
        pads = (own[0] + top, own[1] + left, own[2] + bottom, own[3] + right)
        origin = (*pad.origin, *node.origin)
        inputs = (pad.inputs[0], *node.inputs[1:])
        editor.replace(node, inputs=inputs, attributes={**node.attributes, "pads": pads}, origin=origin)
        has_changed = True
    return editor.finish() if has_changed else graph


def _own_padding(node: Node) -> int:
    return INT8_MIN if node.op == "qmaxpool" else int(node["zero_in"])


def _is_spatial(pad: Node) -> bool:
    pads = pad["pads"]
    return len(pads) == 8 and not any(pads[i] for i in (0, 1, 4, 5))
