"""Moves transposes down past element-wise operators, where they meet and cancel."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE
from tilewright.compiler.passes.unify_movement import UnifyMovement

_ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "HardSigmoid")
_UNARY = frozenset((*(f"onnx.{op}" for op in _ACTIVATIONS), QUANTIZE, DEQUANTIZE, "to_int8", "to_uint8"))
_BINARY = frozenset(("onnx.Add", "onnx.Sub", "onnx.Mul", "onnx.Div"))


@dataclass(frozen=True)
class CancelTransposes:
    """Let transposes sink past element-wise operators, and keep the result only when fewer of them remain.

    Before: `%a = transpose(%x) {perm=[0, 2, 3, 1]}`, `%b = onnx.Relu(%a)`, `%c = transpose(%b) {perm=[0, 3, 1, 2]}`.
    After: `%c = onnx.Relu(%x)`.
    """

    name: str = "cancel-transposes"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with the fewer transposes."""
        changed = UnifyMovement().apply(until_stable(graph, _sink_once))
        return changed if _transposes(changed) < _transposes(graph) else graph


def _transposes(graph: Graph) -> int:
    return sum(node.op == "transpose" for node in graph.nodes)


def _sink_once(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    touched: set[str] = set()
    for node in graph.nodes:
        if not touched.isdisjoint(node.inputs) or not _sink(editor, node):
            continue
        touched.update(node.outputs)
    return editor.finish() if touched else graph


def _sink(editor: GraphEditor, node: Node) -> bool:
    """Compute `node` before the transposes of its operands, when they are all the same."""
    graph = editor.graph
    if graph.values[node.output].shape is None or not (node.op in _BINARY or _is_unary(graph, node)):
        return False
    operands = node.inputs if node.op in _BINARY else node.inputs[:1]
    moved, perms = [], set()
    for name in operands:
        producer, constant = graph.producer(name), graph.constant(name)
        if producer is not None and producer.op == "transpose":
            perms.add(tuple(producer["perm"]))
            moved.append(producer.inputs[0])
        elif constant is not None and constant.size == 1 and constant.ndim <= 1:
            moved.append(name)
        else:
            return False
    if len(perms) != 1:
        return False
    perm = perms.pop()
    shape = graph.shape(node.output)
    if len(shape) != len(perm):
        return False
    before = tuple(shape[perm.index(axis)] for axis in range(len(perm)))
    inner = editor.value(f"{node.output}/untransposed", graph.dtype(node.output), before)
    editor.replace(node, inputs=(*moved, *node.inputs[len(operands) :]), outputs=(inner,))
    editor.node("transpose", [inner], [node.output], {"perm": perm}, node.origin)
    return True


def _is_unary(graph: Graph, node: Node) -> bool:
    if node.op not in _UNARY:
        return False
    if node.op not in (QUANTIZE, DEQUANTIZE):
        return True
    scale = graph.constant(node.inputs[1])
    return scale is not None and scale.size == 1
