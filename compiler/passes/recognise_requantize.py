"""Turns a change of scale into qrequantize, and activations at one scale into qclamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import DEQUANTIZE, Source, required_source
from tilewright.compiler.passes.scaling import scaling_constants
from tilewright.compiler.qops import INT8_MAX, INT8_MIN


@dataclass(frozen=True)
class RecogniseRequantize:
    """Replace DequantizeLinear (Relu, Clip) QuantizeLinear, and Clip of int8 values.

    Before: `%f = onnx.DequantizeLinear(%x)`, `%g = onnx.Relu(%f)`, `%y: int8 = onnx.QuantizeLinear(%g)`.
    After: nothing at equal scales, qclamp at equal scales with an activation, otherwise qrequantize.
    """

    multiplier_bits: int = 16
    name: str = "recognise-requantize"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable change of scale as an integer operator."""
        return _integer_clips(rewrite_quantized(graph, {DEQUANTIZE: self._requantize}))

    def _requantize(self, editor: GraphEditor, result: QuantizedResult) -> str:
        return rescaled(editor, required_source(editor.graph, result.source), result, self.multiplier_bits)


def rescaled(editor: GraphEditor, source: Source, result: QuantizedResult, bits: int) -> str:
    """The value of `source` at the scale, and within the bounds, of `result`."""
    shape = editor.graph.shape(source.name)
    is_bounded = (result.low, result.high) != (INT8_MIN, INT8_MAX)
    if source.quantization == result.quantization:
        if not is_bounded:
            return source.name
        bounds = {"low": result.low, "high": result.high}
        return editor.emit("qclamp", [source.name], (f"{result.name}/clamp", "int8", shape), bounds, result.origin)
    factor = source.quantization.scale / result.quantization.scale
    bias = np.array([-source.quantization.zero])
    scaling = scaling_constants(editor, result.name, bias, [factor], bits)
    output = (f"{result.name}/rescaled", "int8", shape)
    inputs = (source.name, *scaling, "", "")
    return editor.emit("qrequantize", inputs, output, {"epilogue": result.epilogue}, result.origin)


def _integer_clips(graph: Graph) -> Graph:
    """Replace Clip of int8 values, with constant bounds, by qclamp."""
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.op != "onnx.Clip" or graph.dtype(node.output) != "int8" or graph.values[node.output].shape is None:
            continue
        bounds = [INT8_MIN, INT8_MAX]
        arrays = [graph.constant(name) if name else None for name in node.inputs[1:]]
        if any(array is None for array, name in zip(arrays, node.inputs[1:], strict=True) if name):
            continue
        for position, array in enumerate(arrays):
            if array is not None:
                bounds[position] = int(array.reshape(()))
        attributes = {"low": bounds[0], "high": bounds[1]}
        editor.replace(node, op="qclamp", inputs=node.inputs[:1], attributes=attributes, reason="")
    return editor.finish()
