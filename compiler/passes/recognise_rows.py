"""Turns quantized softmax and normalization along rows into qsoftmax and qnormalize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Unsuitable, real_constant, required_source
from tilewright.compiler.passes.scaling import scaling_constants
from tilewright.compiler.row_functions import Normalization, has_softmax, softmax_scale
from tilewright.isa.row_ops import EXP_FRACTION, NORMAL_FRACTION

#: Normalized values of a row of n channels are at most the root of n.
_MOST_CHANNELS = 1 << 14

#: The least weight beside a bias that a sum of 32 bits holds.
_LEAST_WEIGHT = 2.0**-16


@dataclass(frozen=True)
class RecogniseRows:
    """Replace DequantizeLinear, Softmax, LayerNormalization or RMSNormalization over the last axis, QuantizeLinear.

    Before: `%f = onnx.LayerNormalization(dequantized x, w, b)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qnormalize(x, negate, bias, multiplier, shift)`.
    """

    multiplier_bits: int = 16
    name: str = "recognise-rows"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable operation along rows as an integer operator."""
        rules = {
            "onnx.Softmax": self._softmax,
            "onnx.LayerNormalization": self._layer,
            "onnx.RMSNormalization": self._root_mean_square,
        }
        return rewrite_quantized(graph, rules)

    def _softmax(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        _check_axis(graph, node, node.get("axis", -1))
        x = required_source(graph, node.inputs[0])
        if not has_softmax(x.quantization.scale):
            raise Unsuitable(f"the scale {x.quantization.scale:.3g} of its input is out of range")
        factor = 2.0**-EXP_FRACTION / result.quantization.scale
        scaling = scaling_constants(editor, result.name, np.zeros(1), [factor], self.multiplier_bits)
        attributes = {"scale": softmax_scale(x.quantization.scale), "epilogue": result.epilogue}
        output = (f"{result.name}/softmax", "int8", graph.shape(result.name))
        return editor.emit("qsoftmax", (x.name, *scaling, "", ""), output, attributes, result.origin)

    def _layer(self, editor: GraphEditor, result: QuantizedResult) -> str:
        return self._normalized(editor, result, removes_mean=True)

    def _root_mean_square(self, editor: GraphEditor, result: QuantizedResult) -> str:
        return self._normalized(editor, result, removes_mean=False)

    def _normalized(self, editor: GraphEditor, result: QuantizedResult, *, removes_mean: bool) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        _check_axis(graph, node, node.get("axis", -1))
        x = required_source(graph, node.inputs[0])
        channels = graph.shape(x.name)[-1]
        if not removes_mean and x.quantization.zero:
            raise Unsuitable(f"its input has the zero point {x.quantization.zero}, not 0")
        operands = Normalization.of(
            channels, x.quantization.scale, node.get("epsilon", 1e-5), removes_mean=removes_mean
        )
        if not operands.is_possible or channels >= _MOST_CHANNELS:
            raise Unsuitable(f"its {channels} channels, or its epsilon, exceed the fields of instructions")
        weight, bias = _vector(graph, node, 1, channels, 1.0), _vector(graph, node, 2, channels, 0.0)
        size = np.maximum(np.abs(weight), np.maximum(np.abs(bias) * _LEAST_WEIGHT, 1e-30))
        factors = size / result.quantization.scale * 2.0**-NORMAL_FRACTION
        integers = np.rint(bias / size * 2.0**NORMAL_FRACTION)
        scaling = scaling_constants(editor, result.name, integers, factors, self.multiplier_bits)
        negate = editor.constant(f"{result.name}/negate", (weight < 0).astype(np.int32))
        attributes = {**vars(operands), "epilogue": result.epilogue}
        output = (f"{result.name}/normalized", "int8", graph.shape(result.name))
        return editor.emit("qnormalize", (x.name, negate, *scaling, "", ""), output, attributes, result.origin)


def _check_axis(graph: Graph, node: Node, axis: int) -> None:
    shape = graph.shape(node.output)
    if len(shape) < 2 or axis % len(shape) != len(shape) - 1:
        raise Unsuitable("it is not along the last of several dimensions")


def _vector(graph: Graph, node: Node, position: int, channels: int, default: float) -> Array:
    """A constant operand, real, one value a channel."""
    name = node.inputs[position] if len(node.inputs) > position else ""
    if not name:
        return np.full(channels, default)
    array = real_constant(graph, name)
    if array is None or array.size not in (1, channels):
        raise Unsuitable("its weights are not one constant for each channel")
    return np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float64)
