"""Takes batch normalization into the weights of the convolution or matrix product before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import DEQUANTIZE, real_constant


@dataclass(frozen=True)
class FoldBatchNorm:
    """Scale a convolution's weights and bias instead of its result.

    Before: `%a = onnx.Conv(%x, %w, %b)`, `%y = onnx.BatchNormalization(%a, ...)`.
    After: `%y = onnx.Conv(%x, %w', %b')`.
    Of dequantized weights the scales change, or the signs where a factor is negative; the integers stay. Gemm
    with plain constant weights and no factors is treated alike.
    """

    name: str = "fold-batchnorm"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without batch normalizations behind convolutions of constant weights."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            conv = graph.producer(node.inputs[0]) if node.op == "onnx.BatchNormalization" else None
            if conv is None or not graph.has_single_use(conv.output):
                continue
            if conv.op == "onnx.Conv" or (
                conv.op == "onnx.Gemm" and conv.get("alpha", 1.0) == conv.get("beta", 1.0) == 1.0
            ):
                _fold(editor, conv, node)
        return editor.finish()


def _fold(editor: GraphEditor, conv: Node, norm: Node) -> None:
    graph = editor.graph
    parameters = [graph.constant(name) for name in norm.inputs[1:5]]
    if any(array is None for array in parameters) or norm.get("training_mode", 0):
        return
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in parameters)
    factor = gamma / np.sqrt(variance + norm.get("epsilon", 1e-5))
    bias = _bias(graph, conv)
    scale = _scaled_matrix if conv.op == "onnx.Gemm" else _scaled_weight
    weight = scale(editor, conv, factor)
    if bias is None or weight is None:
        return
    shifted = editor.constant(f"{norm.output}/bias", ((bias - mean) * factor + beta).astype(np.float32))
    origin = (*conv.origin, *norm.origin)
    editor.node(conv.op, [conv.inputs[0], weight, shifted], [norm.output], conv.attributes, origin)
    editor.remove(norm)
    editor.remove(conv)


def _bias(graph: Graph, conv: Node) -> Array | None:
    if len(conv.inputs) < 3 or not conv.inputs[2]:
        return np.zeros(1)
    return real_constant(graph, conv.inputs[2])


def _scaled_matrix(editor: GraphEditor, gemm: Node, factor: Array) -> str | None:
    """The second matrix times a factor for each column of the result; None when it is not constant."""
    array = editor.graph.constant(gemm.inputs[1])
    if array is None:
        return None
    per_column = factor[:, None] if gemm.get("transB", 0) else factor
    return editor.constant(f"{gemm.inputs[1]}/normalized", (array * per_column).astype(array.dtype))


def _scaled_weight(editor: GraphEditor, conv: Node, factor: Array) -> str | None:
    """Weights times a factor for each output channel; None when they are not constant."""
    graph, name = editor.graph, conv.inputs[1]
    array, node = graph.constant(name), graph.producer(name)
    per_channel = factor.reshape(-1, *(1,) * (len(graph.shape(name)) - 1))
    if array is not None:
        return editor.constant(f"{name}/normalized", (array * per_channel).astype(array.dtype))
    if node is None or node.op != DEQUANTIZE:
        return None
    integers, scale = graph.constant(node.inputs[0]), graph.constant(node.inputs[1])
    zero = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.int8)
    if integers is None or scale is None or zero is None or integers.dtype != np.int8 or zero.any():
        return None
    if (scale.size > 1 and node.get("axis", 1) != 0) or not factor.all() or integers.min() == -128:
        return None
    signed = np.where(per_channel < 0, -integers, integers).astype(np.int8)
    scales = (np.abs(factor) * scale.reshape(-1)).astype(np.float32)
    inputs = [
        editor.constant(f"{name}/integers", signed),
        editor.constant(f"{name}/scales", scales),
        editor.constant(f"{name}/zeros", np.zeros(scales.shape, np.int8)),
    ]
    output = (f"{name}/normalized", "float32", graph.shape(name))
    return editor.emit(DEQUANTIZE, inputs, output, {"axis": 0}, node.origin)
