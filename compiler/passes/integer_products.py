"""Writes products of integers whose sums are scaled and quantized as products of dequantized values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE

_FLOAT_FORMS = {"onnx.ConvInteger": "onnx.Conv", "onnx.MatMulInteger": "onnx.MatMul"}
_BETWEEN = ("onnx.Add", "onnx.Relu", "onnx.Clip")


@dataclass(frozen=True)
class IntegerProducts:
    """Take the constant that integer sums are multiplied with as the scale of the weights.

    Before: `%s: int32 = onnx.ConvInteger(%x, %w, zx, zw)`, `%f = onnx.Cast(%s)`, `%g = onnx.Mul(%f, c)`,
    `%y = onnx.QuantizeLinear(%g)`. After: `%g = onnx.Conv(DequantizeLinear(%x, 1, zx), DequantizeLinear(%w, c, zw))`.
    Both are the same real numbers. Sums that are used as integers, or scaled by what is only known at run time, stay.
    """

    name: str = "integer-products"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every such product on dequantized values."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op in _FLOAT_FORMS:
                _rewrite(editor, node)
        return editor.finish()


def _rewrite(editor: GraphEditor, node: Node) -> None:
    graph = editor.graph
    cast = _only_user(graph, node.output)
    if cast is None or cast.op != "onnx.Cast" or graph.dtype(cast.output) != "float32":
        return
    scale, last = _scale(graph, node, cast)
    zeros = [_zero(graph, node, 2), _zero(graph, node, 3)]
    if not _is_quantized(graph, last.output) or zeros[0] is None or zeros[1] is None or zeros[0].size != 1:
        return
    if graph.constant(node.inputs[1]) is None or np.any(scale <= 0) or graph.values[node.output].shape is None:
        return
    operands = [
        _dequantized(editor, node.inputs[0], np.ones((), np.float32), zeros[0].reshape(()), 0),
        _dequantized(editor, node.inputs[1], *_together(scale, zeros[1]), 0 if node.op == "onnx.ConvInteger" else 1),
    ]
    origin = (*node.origin, *cast.origin, *last.origin)
    editor.node(_FLOAT_FORMS[node.op], operands, [last.output], node.attributes, origin)
    for done in {id(n): n for n in (node, cast, last)}.values():
        editor.remove(done)


def _only_user(graph: Graph, name: str) -> Node | None:
    return graph.consumers[name][0] if graph.has_single_use(name) else None


def _scale(graph: Graph, product: Node, cast: Node) -> tuple[Array, Node]:
    """The scale of the sums, one or one for each channel, and the node that applies it."""
    mul = _only_user(graph, cast.output)
    if mul is not None and mul.op == "onnx.Mul":
        other = mul.inputs[1] if mul.inputs[0] == cast.output else mul.inputs[0]
        factor = graph.constant(other)
        if factor is not None and _is_of_channels(graph, product, factor):
            return factor.reshape(-1) if factor.size > 1 else factor.reshape(()), mul
    return np.ones((), np.float32), cast


def _is_of_channels(graph: Graph, product: Node, factor: Array) -> bool:
    if factor.size == 1:
        return True
    rank = len(graph.values[product.output].shape or ())
    axis = 1 if product.op == "onnx.ConvInteger" else rank - 1
    shape = (1,) * (rank - factor.ndim) + factor.shape
    return all(extent == 1 or index == axis for index, extent in enumerate(shape))


def _zero(graph: Graph, node: Node, position: int) -> Array | None:
    if len(node.inputs) <= position or not node.inputs[position]:
        return np.zeros((), graph.dtype(node.inputs[position - 2]))
    return graph.constant(node.inputs[position])


def _is_quantized(graph: Graph, name: str) -> bool:
    """Whether a value goes to a QuantizeLinear, through additions and activations alone."""
    user = _only_user(graph, name)
    while user is not None and user.op in _BETWEEN:
        user = _only_user(graph, user.output)
    return user is not None and user.op == QUANTIZE


def _together(scale: Array, zero: Array) -> tuple[Array, Array]:
    """Scale and zero point of one shape, as DequantizeLinear wants them."""
    if scale.ndim == 0 and zero.size == 1:
        return scale, zero.reshape(())
    scales, zeros = np.broadcast_arrays(scale.reshape(-1), zero.reshape(-1))
    return np.ascontiguousarray(scales), np.ascontiguousarray(zeros)


def _dequantized(editor: GraphEditor, name: str, scale: Array, zero: Array, axis: int) -> str:
    value = editor.graph.values[name]
    inputs = [name, editor.constant(f"{name}/scale", scale.astype(np.float32)), editor.constant(f"{name}/zero", zero)]
    attributes = {"axis": axis} if scale.ndim else {}
    return editor.emit(DEQUANTIZE, inputs, (f"{name}/real", "float32", value.shape), attributes)
