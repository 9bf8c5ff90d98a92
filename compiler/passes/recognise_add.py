"""Turns quantized sums of two tensors into qadd."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import required_source
from tilewright.compiler.passes.scaling import residual_stage
from tilewright.compiler.passes.spread import spread


@dataclass(frozen=True)
class RecogniseAdd:
    """Replace DequantizeLinear of both operands, Add (Relu, Clip) QuantizeLinear.

    Before: `%f = onnx.Add(dequantized a, dequantized b)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qadd(a, b)`. Operands are spread to the result's shape.
    """

    multiplier_bits: int = 16
    name: str = "recognise-add"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable sum as qadd."""
        return rewrite_quantized(graph, {"onnx.Add": self._add})

    def _add(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph = editor.graph
        assert result.core is not None
        a, b = (required_source(graph, name) for name in result.core.inputs)
        shape = graph.shape(result.name)
        inputs = [spread(editor, source.name, shape) for source in (a, b)]
        stage = residual_stage(a.quantization, b.quantization, result.quantization, self.multiplier_bits)
        epilogue = replace(result.epilogue, zero_out=0, residual=stage)
        output = (f"{result.name}/add", "int8", shape)
        return editor.emit("qadd", (*inputs, ""), output, {"epilogue": epilogue}, result.origin)
