"""Turns quantized products of two activations into qbatchmatmul."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Unsuitable, required_source
from tilewright.compiler.passes.scaling import scaling_constants


@dataclass(frozen=True)
class RecogniseBatchMatMul:
    """Replace DequantizeLinear of two activations, MatMul, QuantizeLinear; the second operand is transposed before.

    Before: `%f = onnx.MatMul(dequantized x, dequantized y)`, `%z: int8 = onnx.QuantizeLinear(%f)`.
    After: `%t = transpose(%y)`, `%z: int8 = qbatchmatmul(x, %t)`.
    """

    multiplier_bits: int = 16
    name: str = "recognise-batch-matmul"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable product as qbatchmatmul."""
        return rewrite_quantized(graph, {"onnx.MatMul": self._product})

    def _product(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph = editor.graph
        assert result.core is not None
        x, y = (required_source(graph, name) for name in result.core.inputs)
        left, right, shape = graph.shape(x.name), graph.shape(y.name), graph.shape(result.name)
        if min(len(left), len(right)) < 2 or left[:-2] != right[:-2]:
            raise Unsuitable("its operands broadcast")
        if 255 * 255 * left[-1] >= 1 << 31:
            raise Unsuitable("its sums may exceed 32 bits")
        perm = (*range(len(right) - 2), len(right) - 1, len(right) - 2)
        turned = (f"{result.name}/transposed", "int8", (*right[:-2], right[-1], right[-2]))
        columns = editor.emit("transpose", [y.name], turned, {"perm": perm}, result.core.origin)
        factor = x.quantization.scale * y.quantization.scale / result.quantization.scale
        scaling = scaling_constants(editor, result.name, np.zeros(1), [factor], self.multiplier_bits)
        attributes = {
            "zero_in": x.quantization.zero, "zero_y": y.quantization.zero, "epilogue": result.epilogue
        }  # fmt: skip
        output = (f"{result.name}/product", "int8", shape)
        return editor.emit("qbatchmatmul", (x.name, columns, *scaling, "", ""), output, attributes, result.origin)
