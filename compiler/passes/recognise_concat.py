"""Turns concatenations of quantized tensors into qconcat."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import required_source
from tilewright.compiler.passes.recognise_requantize import rescaled


@dataclass(frozen=True)
class RecogniseConcat:
    """Replace DequantizeLinear of every part, Concat, QuantizeLinear; and Concat of int8 values.

    Before: `%f = onnx.Concat(dequantized a, dequantized b)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qconcat(a, b)`, with a qrequantize before each part of another scale than the result's.
    """

    multiplier_bits: int = 16
    name: str = "recognise-concat"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable concatenation as qconcat."""
        return _integer_concats(rewrite_quantized(graph, {"onnx.Concat": self._concat}))

    def _concat(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph = editor.graph
        assert result.core is not None
        sources = [required_source(graph, name) for name in result.core.inputs]
        parts = [rescaled(editor, source, result, self.multiplier_bits) for source in sources]
        shape = graph.shape(result.name)
        attributes = {"axis": result.core["axis"] % len(shape)}
        return editor.emit("qconcat", parts, (f"{result.name}/concat", "int8", shape), attributes, result.origin)


def _integer_concats(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.op != "onnx.Concat":
            continue
        shape = graph.values[node.output].shape
        if {graph.dtype(name) for name in (*node.inputs, node.output)} == {"int8"} and shape is not None:
            editor.replace(node, op="qconcat", attributes={"axis": node["axis"] % len(shape)}, reason="")
    return editor.finish()
