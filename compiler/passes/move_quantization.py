"""Moves QuantizeLinear up and DequantizeLinear down past data movement, so that data moves as int8."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import FrozenMap
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE, tensor_scale
from tilewright.compiler.passes.resampling import resize_mode

_ONNX_MOVES = ("Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "MaxPool", "Concat")
_MOVES = frozenset(("reshape", "transpose", *(f"onnx.{op}" for op in _ONNX_MOVES)))
_SINKING = (DEQUANTIZE, "to_uint8")
_RISING = (QUANTIZE, "to_int8")


@dataclass(frozen=True)
class MoveQuantization:
    """Exchange per-tensor DequantizeLinear with the data movement behind it, QuantizeLinear with that before it.

    Before: `%f = onnx.DequantizeLinear(%x: int8)`, `%g = transpose(%f)`.
    After: `%t: int8 = transpose(%x)`, `%g = onnx.DequantizeLinear(%t)`.
    MaxPool counts as movement: it commutes with what preserves order. Conversions between int8 and uint8 move alike.
    """

    name: str = "move-quantization"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with as much movement as possible on int8 values."""
        return until_stable(graph, _move_once)


def _move_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    touched: set[str] = set()
    for node in graph.nodes:
        if node.op == "to_int8" and _cancels(graph, node):
            editor.redirect(node.output, graph.producers[node.inputs[0]].inputs[0])
            editor.remove(node)
            touched.add(node.output)
        elif touched.isdisjoint(node.inputs) and (_sink(editor, node) or _rise(editor, node)):
            touched.update(node.outputs)
    return editor.finish() if touched else graph


def _cancels(graph: Graph, node: Node) -> bool:
    producer = graph.producer(node.inputs[0])
    return producer is not None and producer.op == "to_uint8"


def _sink(editor: GraphEditor, move: Node) -> bool:
    """Exchange a movement with the conversions that give its data, when they are all the same."""
    graph = editor.graph
    if not _is_move(move):
        return False
    data = _data_inputs(move)
    sources = [graph.producer(name) for name in data]
    first = sources[0] if sources else None
    if first is None or any(graph.values[output].shape is None for output in move.outputs if output):
        return False
    if move.op == "onnx.MaxPool" and (len(move.outputs) > 1 or len(graph.shape(move.output)) > 4):
        return False
    is_weight = move.op == "transpose" and first.op == DEQUANTIZE and graph.constant(first.inputs[0]) is not None
    if not is_weight and not all(s is not None and _is_same_conversion(graph, first, s) for s in sources):
        return False
    attributes = first.attributes
    if move.op == "transpose" and "axis" in attributes:
        attributes = FrozenMap({**attributes, "axis": move["perm"].index(attributes["axis"] % len(move["perm"]))})
    kind = graph.dtype(first.inputs[0])
    inner = tuple(source.inputs[0] for source in sources if source is not None)
    moved = [editor.value(f"{output}/moved", kind, graph.shape(output)) for output in move.outputs]
    editor.replace(move, inputs=(*inner, *move.inputs[len(data) :]), outputs=tuple(moved))
    for before, after in zip(moved, move.outputs, strict=True):
        editor.node(first.op, (before, *first.inputs[1:]), [after], attributes, first.origin)
    return True


def _is_same_conversion(graph: Graph, first: Node, other: Node) -> bool:
    if first.op != other.op or first.op not in _SINKING:
        return False
    if first.op == "to_uint8":
        return True
    scale = tensor_scale(graph, first)
    is_8bit = graph.dtype(first.inputs[0]) == graph.dtype(other.inputs[0]) in ("int8", "uint8")
    return is_8bit and scale is not None and scale == tensor_scale(graph, other)


def _rise(editor: GraphEditor, conversion: Node) -> bool:
    """Exchange a quantization with the movement that gives its input."""
    graph = editor.graph
    if conversion.op not in _RISING:
        return False
    move = graph.producer(conversion.inputs[0])
    if move is None or not _is_move(move) or len(move.outputs) != 1 or len(_data_inputs(move)) != 1:
        return False
    if conversion.op == QUANTIZE and tensor_scale(graph, conversion) is None:
        return False
    if graph.values[move.inputs[0]].shape is None:
        return False
    if move.op == "onnx.MaxPool" and len(graph.shape(move.output)) > 4:
        return False
    source = graph.producer(move.inputs[0])
    if source is not None and source.op in _SINKING:
        return False  # sinking settles it
    kind = graph.dtype(conversion.output)
    inner = editor.value(f"{conversion.output}/unmoved", kind, graph.shape(move.inputs[0]))
    editor.replace(conversion, inputs=(move.inputs[0], *conversion.inputs[1:]), outputs=(inner,))
    inputs = (inner, *move.inputs[1:])
    editor.node(move.op, inputs, [conversion.output], move.attributes, move.origin)
    return True


def _is_move(node: Node) -> bool:
    """Whether a node's results are some of its input's values."""
    if node.op == "onnx.Resize":
        return resize_mode(node) == "nearest" and node.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    if node.op == "onnx.Pad":
        return bool(node.get("mode", "constant") != "constant")
    return node.op in _MOVES


def _data_inputs(move: Node) -> tuple[str, ...]:
    return move.inputs if move.op == "onnx.Concat" else move.inputs[:1]
