"""Turns quantized differences and products of two tensors into integer operators, and shares what all sums share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Shape
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Scale, Source, required_source
from tilewright.compiler.passes.scaling import residual_stage, scaling_constants
from tilewright.compiler.passes.spread import spread


@dataclass(frozen=True)
class RecogniseArithmetic:
    """Replace DequantizeLinear of both operands, Sub or Mul (Relu, Clip) QuantizeLinear.

    Before: `%f = onnx.Mul(dequantized a, dequantized b)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qmul(a, b, bias, multiplier, shift)`. A difference is the sum with the complement `-1 - b`, which
    int8 holds for every `b`. Operands are spread to the result's shape.
    """

    multiplier_bits: int = 16
    name: str = "recognise-arithmetic"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable difference and product as integer operators."""
        return rewrite_quantized(graph, {"onnx.Sub": self._difference, "onnx.Mul": self._product})

    def _difference(self, editor: GraphEditor, result: QuantizedResult) -> str:
        a, b, shape = _sources(editor, result)
        complement, scale = _complement(editor, result, b)
        stage = residual_stage(a.quantization, scale, result.quantization, self.multiplier_bits)
        epilogue = replace(result.epilogue, zero_out=0, residual=stage)
        inputs = [spread(editor, a.name, shape), spread(editor, complement, shape), ""]
        return editor.emit(
            "qadd", inputs, (f"{result.name}/difference", "int8", shape), {"epilogue": epilogue}, result.origin
        )

    def _product(self, editor: GraphEditor, result: QuantizedResult) -> str:
        a, b, shape = _sources(editor, result)
        factor = a.quantization.scale * b.quantization.scale / result.quantization.scale
        scaling = scaling_constants(editor, result.name, np.zeros(1), [factor], self.multiplier_bits)
        attributes = {
            "zero_a": a.quantization.zero, "zero_b": b.quantization.zero, "epilogue": result.epilogue
        }  # fmt: skip
        inputs = [*(spread(editor, source.name, shape) for source in (a, b)), *scaling, ""]
        return editor.emit("qmul", inputs, (f"{result.name}/product", "int8", shape), attributes, result.origin)


def _sources(editor: GraphEditor, result: QuantizedResult) -> tuple[Source, Source, Shape]:
    graph = editor.graph
    assert result.core is not None
    a, b = (required_source(graph, name) for name in result.core.inputs)
    return a, b, graph.shape(result.name)


def _complement(editor: GraphEditor, result: QuantizedResult, b: Source) -> tuple[str, Scale]:
    """The value `-1 - b`, and the quantization with which it means `-b`."""
    scale = Scale(b.quantization.scale, -1 - b.quantization.zero)
    array = editor.graph.constant(b.name)
    if array is not None:
        return editor.constant(f"{b.name}/complement", ~array), scale
    table = editor.constant(f"{result.name}/complement", np.arange(127, -129, -1).astype(np.int8))
    output = (f"{b.name}/complement", "int8", editor.graph.shape(b.name))
    return editor.emit("qtable", [b.name, table], output, origin=result.origin), scale
