"""Takes the flattening before a matrix product into the product, which becomes a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node


@dataclass(frozen=True)
class FlattenIntoConv:
    """Write the product of a flattened image as a convolution whose kernel is as large as the image.

    Before: `%f = reshape(%x: int8[1,16,4,4]) {shape=[1, 256]}`, `%y = qmatmul(%f, %w: int8[256,10])`.
    After: `%p = qconv2d(%x, %w': int8[10,16,4,4])`, `%y = reshape(%p) {shape=[1, 10]}`. The sums have the same terms.
    An image that the caller gives stays flattened: it is packed by the host anyway.
    """

    name: str = "flatten-into-conv"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without such flattening."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            flatten = _flattened_image(graph, node) if node.op == "qmatmul" else None
            if flatten is not None:
                _rewrite(editor, node, flatten)
        return editor.finish()


def _flattened_image(graph: Graph, product: Node) -> Node | None:
    reshape = graph.producer(product.inputs[0])
    if reshape is None or reshape.op != "reshape" or qops.operand(product, "residual"):
        return None
    shape = graph.shape(reshape.inputs[0])
    source = graph.producer(reshape.inputs[0])
    is_given = source is None or not qops.is_device_operator(source)
    is_plane = len(shape) == 4 and prod(shape[2:]) > 1 and reshape["shape"] == (shape[0], prod(shape[1:]))
    return reshape if is_plane and not is_given and qops.operand(product, "weight") in graph.constants else None


def _rewrite(editor: GraphEditor, product: Node, flatten: Node) -> None:
    graph = editor.graph
    batch, *extents = graph.shape(flatten.inputs[0])
    weight = graph.constants[qops.operand(product, "weight")]
    outputs = weight.shape[1]
    kernel = np.ascontiguousarray(weight.T).reshape(outputs, *extents)
    inputs = (flatten.inputs[0], editor.constant(f"{product.output}/kernel", kernel), *product.inputs[2:])
    attributes = {
        "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1,
        "zero_in": product["zero_in"], "epilogue": product["epilogue"],
    }  # fmt: skip
    origin = (*flatten.origin, *product.origin)
    y = editor.emit("qconv2d", inputs, (f"{product.output}/plane", "int8", (batch, outputs, 1, 1)), attributes, origin)
    editor.remove(product)
    editor.node("reshape", [y], [product.output], {"shape": graph.shape(product.output)}, origin)
