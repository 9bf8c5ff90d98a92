"""Turns quantized convolutions into qconv2d."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Unsuitable, real_constant, required_source, weights_of
from tilewright.compiler.passes.scaling import folded_bias, scaling_constants, within_32_bits
from tilewright.compiler.passes.wide_weights import narrowed
from tilewright.compiler.passes.windows import as_image, window_of


@dataclass(frozen=True)
class RecogniseConv:
    """Replace DequantizeLinear, Conv (Add of a constant) (Relu, Clip) QuantizeLinear.

    Before: `%f = onnx.Conv(dequantized x, w, b)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qconv2d(x, w, bias, multiplier, shift)`.
    """

    multiplier_bits: int = 16
    name: str = "recognise-conv"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable convolution as qconv2d."""
        return rewrite_quantized(graph, {"onnx.Conv": self._conv, "onnx.Add": self._biased_conv})

    def _conv(self, editor: GraphEditor, result: QuantizedResult) -> str:
        assert result.core is not None
        return self._build(editor, result, result.core, None)

    def _biased_conv(self, editor: GraphEditor, result: QuantizedResult) -> str:
        """Take a constant that is added to a convolution as (more of) its bias."""
        graph, add = editor.graph, result.core
        assert add is not None
        for name, other in (add.inputs, reversed(add.inputs)):
            conv, addend = graph.producer(name), real_constant(graph, other)
            if conv is not None and conv.op == "onnx.Conv" and addend is not None:
                return self._build(editor, result, conv, _channel_bias(graph, conv, addend))
        raise Unsuitable(add.reason)  # some other sum; what an earlier pass said of it stays

    def _build(self, editor: GraphEditor, result: QuantizedResult, conv: Node, addend: Array | None) -> str:
        graph = editor.graph
        x = required_source(graph, conv.inputs[0])
        weights = weights_of(graph, conv.inputs[1], axis=0, may_be_wide=True)
        window = window_of(graph, conv, weights.array.shape[2:])
        bias = _summed_bias(graph, conv, addend)
        weights = within_32_bits(weights, 0, x.quantization, bias)
        folded = folded_bias(weights, 0, x.quantization, bias)
        factors = x.quantization.scale * weights.scales / result.quantization.scale
        scaling = scaling_constants(editor, result.name, folded, factors, self.multiplier_bits)
        groups = conv.get("group", 1)
        image, weights = narrowed(editor, as_image(editor, x.name), weights, 1, groups, 1)
        kernel = weights.array.reshape(*weights.array.shape[:2], *window.kernel)
        weight = editor.constant(f"{result.name}/weight", kernel)
        batch = graph.shape(x.name)[0]
        height, width = (1, *graph.shape(x.name)[2:])[-2:]
        shape = (batch, kernel.shape[0], *window.output_extents(height, width))
        attributes = {
            "strides": window.strides,
            "pads": window.pads,
            "dilations": window.dilations,
            "groups": groups,
            "zero_in": x.quantization.zero,
            "epilogue": result.epilogue,
        }
        origin = (*conv.origin, *result.origin)
        inputs = (image, weight, *scaling, "", "")
        y = editor.emit("qconv2d", inputs, (f"{result.name}/conv", "int8", shape), attributes, origin)
        wanted = graph.shape(result.name)
        if wanted == shape:
            return y
        return editor.emit("reshape", [y], (f"{result.name}/line", "int8", wanted), {"shape": wanted}, origin)


def _summed_bias(graph: Graph, conv: Node, addend: Array | None) -> Array | None:
    name = conv.inputs[2] if len(conv.inputs) > 2 else ""
    if not name:
        return addend
    bias = real_constant(graph, name)
    if bias is None:
        raise Unsuitable("its bias is not constant")
    return bias if addend is None else bias + addend


def _channel_bias(graph: Graph, conv: Node, addend: Array) -> Array:
    """An addend that is the same at every position, as `[channels]`."""
    shape = graph.shape(conv.output)
    aligned = addend.reshape((1,) * (len(shape) - addend.ndim) + addend.shape)
    is_channel = aligned.ndim == len(shape) and all(aligned.shape[i] == 1 for i in range(len(shape)) if i != 1)
    if not is_channel or aligned.shape[1] not in (1, shape[1]):
        raise Unsuitable("the constant added to it is not one for each channel")
    return np.broadcast_to(aligned.reshape(-1), (shape[1],))
