"""Writes batch normalization of images, which no convolution takes in, as a convolution of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node


@dataclass(frozen=True)
class BatchNormToConv:
    """Replace batch normalization by a depthwise convolution of one pixel.

    Before: `%y = onnx.BatchNormalization(%x, ...)`. After: `%y = onnx.Conv(%x, %w[C,1,1,1], %b) {group=C}`.
    Meant for models that are quantized afterwards: the convolution runs where the others do.
    """

    name: str = "batchnorm-to-conv"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without batch normalizations of four-dimensional values with constant parameters."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op == "onnx.BatchNormalization":
                _replace(editor, node)
        return editor.finish()


def _replace(editor: GraphEditor, norm: Node) -> None:
    graph = editor.graph
    shape = graph.values[norm.inputs[0]].shape
    parameters = [graph.constant(name) for name in norm.inputs[1:5]]
    if shape is None or len(shape) != 4 or norm.get("training_mode", 0) or any(array is None for array in parameters):
        return
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in parameters)
    factor = gamma / np.sqrt(variance + norm.get("epsilon", 1e-5))
    weight = editor.constant(f"{norm.output}/weight", factor.reshape(-1, 1, 1, 1).astype(np.float32))
    bias = editor.constant(f"{norm.output}/bias", (beta - mean * factor).astype(np.float32))
    attributes = {"group": shape[1], "kernel_shape": (1, 1)}
    editor.node("onnx.Conv", [norm.inputs[0], weight, bias], [norm.output], attributes, norm.origin)
    editor.remove(norm)
