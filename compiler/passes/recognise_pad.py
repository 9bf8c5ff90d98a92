"""Turns constant padding of quantized tensors into qpad."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.operands import constant_integers, dimensions
from tilewright.compiler.passes.quantization import Unsuitable, required_source
from tilewright.compiler.passes.recognise_requantize import rescaled


@dataclass(frozen=True)
class RecognisePad:
    """Replace DequantizeLinear, Pad with a constant, QuantizeLinear; and Pad of int8 values.

    Before: `%f = onnx.Pad(dequantized x)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qpad(x)`, and a qrequantize before it when the scales differ: the result's holds the constant.
    """

    multiplier_bits: int = 16
    name: str = "recognise-pad"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable Pad as qpad."""
        return _integer_pads(rewrite_quantized(graph, {"onnx.Pad": self._pad}))

    def _pad(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        source = required_source(graph, node.inputs[0])
        pads, value = _pads(graph, node), result.quantization.quantized(_value(graph, node))
        moved = rescaled(editor, source, result, self.multiplier_bits)
        return _padded(editor, moved, pads, min(max(value, result.low), result.high), result.origin)


def _integer_pads(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.op != "onnx.Pad" or graph.dtype(node.output) != "int8":
            continue
        try:
            padded = _padded(editor, node.inputs[0], _pads(graph, node), int(_value(graph, node)), node.origin)
        except Unsuitable as reason:
            editor.replace(node, reason=str(reason))
            continue
        editor.remove(node)
        editor.redirect(node.output, padded)
    return editor.finish()


def _padded(editor: GraphEditor, name: str, pads: tuple[int, ...], value: int, origin: tuple[str, ...]) -> str:
    """Pad height and width of an image at once, every other dimension by itself, and none that needs no padding."""
    rank = len(pads) // 2
    together = [(0,), (1,), (2, 3)] if rank == 4 else [(axis,) for axis in range(rank)]
    for axes in together:
        part = tuple(extent if index % rank in axes else 0 for index, extent in enumerate(pads))
        if any(part):
            shape = tuple(n + part[i] + part[i + rank] for i, n in enumerate(editor.shape(name)))
            output = (f"{name}/padded", "int8", shape)
            name = editor.emit("qpad", [name], output, {"pads": part, "value": value}, origin)
    return name


def _pads(graph: Graph, node: Node) -> tuple[int, ...]:
    """The pads of every dimension: all begins, then all ends."""
    if node.get("mode", "constant") != "constant":
        raise Unsuitable(f"it pads with mode {node['mode']}")
    rank = len(graph.shape(node.inputs[0]))
    pads, axes = list(constant_integers(graph, node, 1, "pads")), list(constant_integers(graph, node, 3, "axes"))
    axes = list(dimensions(axes, rank)) or list(range(rank))
    if len(pads) != 2 * len(axes):
        raise Unsuitable(f"it pads {len(axes)} dimensions by {len(pads)} numbers")
    spread = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        spread[axis], spread[axis + rank] = pads[position], pads[position + len(axes)]
    if min(spread) < 0:
        raise Unsuitable("it has negative pads")
    return tuple(spread)


def _value(graph: Graph, node: Node) -> float:
    if len(node.inputs) > 2 and node.inputs[2]:
        array = graph.constant(node.inputs[2])
        if array is None:
            raise Unsuitable("its padding value is not constant")
        return float(array.reshape(()))
    return float(node.get("value", 0.0))
