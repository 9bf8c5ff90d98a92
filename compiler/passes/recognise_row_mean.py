"""Turns the quantized mean of a matrix' rows into qglobalavgpool."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Unsuitable, required_source
from tilewright.compiler.passes.recognise_reduce import reduced_axes
from tilewright.compiler.passes.scaling import scaling_constants


@dataclass(frozen=True)
class RecogniseRowMean:
    """Replace DequantizeLinear, ReduceMean over the last dimension but one, QuantizeLinear.

    Before: `%f = onnx.ReduceMean(dequantized x [1,128,384]) {axes=[1]}`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%i [1,384,1,128] = transpose(reshape(%x))`, `%y: int8 = reshape(qglobalavgpool(%i))`: the rows are pixels
    of an image.
    """

    multiplier_bits: int = 16
    name: str = "recognise-row-mean"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable mean of rows as qglobalavgpool."""
        return rewrite_quantized(graph, {"onnx.ReduceMean": self._mean, "onnx.ReduceSum": self._mean})

    def _mean(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        x = required_source(graph, node.inputs[0])
        shape = graph.shape(x.name)
        if len(shape) < 3 or not prod(shape) or reduced_axes(graph, node) != (len(shape) - 2,):
            raise Unsuitable(node.reason)  # another pass may know it
        rows, channels = shape[-2:]
        images, origin = prod(shape[:-2]), result.origin
        wide = (images, 1, rows, channels)
        lines = editor.emit("reshape", [x.name], (f"{result.name}/lines", "int8", wide), {"shape": wide}, origin)
        planes = editor.emit(
            "transpose", [lines], (f"{result.name}/planes", "int8", (images, channels, 1, rows)),
            {"perm": (0, 3, 1, 2)}, origin,
        )  # fmt: skip
        bias = np.array([-x.quantization.zero * rows])
        factor = x.quantization.scale / result.quantization.scale / (rows if node.op == "onnx.ReduceMean" else 1)
        scaling = scaling_constants(editor, result.name, bias, [factor], self.multiplier_bits)
        pooled = editor.emit(
            "qglobalavgpool", (planes, *scaling, "", ""), (f"{result.name}/mean", "int8", (images, channels, 1, 1)),
            {"epilogue": result.epilogue}, origin,
        )  # fmt: skip
        final = graph.shape(result.name)
        return editor.emit("reshape", [pooled], (f"{result.name}/row", "int8", final), {"shape": final}, origin)
