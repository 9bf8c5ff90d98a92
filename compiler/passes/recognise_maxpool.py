"""Turns max pooling of int8 values into qmaxpool."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import Unsuitable
from tilewright.compiler.passes.windows import as_image, image_shape, window_of


@dataclass(frozen=True)
class RecogniseMaxPool:
    """Replace MaxPool of an int8 value, which the moving of DequantizeLinear leaves behind.

    Before: `%y: int8 = onnx.MaxPool(%x: int8)`. After: `%y: int8 = qmaxpool(%x)`.
    """

    name: str = "recognise-maxpool"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable MaxPool as qmaxpool."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op != "onnx.MaxPool" or graph.dtype(node.output) != "int8":
                continue
            try:
                _rewrite(editor, node)
            except Unsuitable as reason:
                editor.replace(node, reason=str(reason))
        return editor.finish()


def _rewrite(editor: GraphEditor, node: Node) -> None:
    graph = editor.graph
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Unsuitable("its indices are used")
    batch, channels, height, width = image_shape(graph, node.inputs[0])
    window = window_of(graph, node, node["kernel_shape"])
    shape = (batch, channels, *window.output_extents(height, width))
    image = as_image(editor, node.inputs[0])
    editor.remove(node)
    if graph.shape(node.output) == shape:
        editor.node("qmaxpool", [image], [node.output], window.as_attributes(), node.origin)
        return
    y = editor.emit("qmaxpool", [image], (f"{node.output}/pool", "int8", shape), window.as_attributes(), node.origin)
    editor.node("reshape", [y], [node.output], {"shape": graph.shape(node.output)}, node.origin)
