"""Evaluates what depends on constants only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import shape_inference

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.onnx_model import to_model
from tilewright.compiler.graph.onnx_nodes import value_from_proto
from tilewright.compiler.graph.subgraphs import is_graph
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.reference import evaluate_node
from tilewright.isa.errors import ModelError

_DEQUANTIZE = "onnx.DequantizeLinear"
_KEPT = (
    _DEQUANTIZE,  # the integers and their scale are what quantized operators are made of
    "onnx.RandomNormalLike",
    "onnx.RandomUniformLike",
    "onnx.Bernoulli",
    "onnx.Multinomial",
)


@dataclass(frozen=True)
class FoldConstants:
    """Replace results of constant inputs, and shapes that are known, by constants.

    Before: `%s = onnx.Shape(%x: float32[1,3,8,8])`. After: `const %s: int64[4] = [1, 3, 8, 8]`.
    """

    name: str = "fold-constants"

    def apply(self, graph: Graph) -> Graph:
        """Fold until nothing more is constant, inferring types as shapes become known."""
        return until_stable(graph, _fold_once)


def _fold_once(graph: Graph) -> Graph:
    known: dict[str, Array] = dict(graph.constants)
    folded: dict[str, Array] = {}
    for node in graph.nodes:
        results = _constant_results(graph, node, known)
        known.update(results)
        folded.update(results)
    if not folded:
        return graph
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.output not in folded:
            continue
        editor.remove(node)
        for output in filter(None, node.outputs):
            editor.redirect(output, editor.constant(output, np.asarray(folded[output])))
    return _with_inferred_types(editor.finish())


def _constant_results(graph: Graph, node: Node, known: dict[str, Array]) -> dict[str, Array]:
    if node.op == "onnx.Identity" and node.output in graph.outputs:
        return {}
    if node.op in ("onnx.Shape", "onnx.Size") and graph.values[node.inputs[0]].shape is not None:
        return _shape_results(graph, node)
    if node.op == "onnx.QuantizeLinear":
        known = _with_dequantized(graph, node.inputs[0], known)
    names = [name for name in node.inputs if name]
    is_control_flow = any(map(is_graph, node.attributes.values()))  # may draw random numbers
    if not names or node.op in _KEPT or is_control_flow or any(name not in known for name in names):
        return {}
    try:
        results = evaluate_node(graph, node, known)
    except ModelError:  # onnx.reference does not know it: it stays, and is refused when it is run
        return {}
    return results if all(isinstance(result, np.ndarray) for result in results.values()) else {}


def _with_dequantized(graph: Graph, name: str, known: dict[str, Array]) -> dict[str, Array]:
    """Add the real value of a dequantized constant, for what quantizes it again."""
    producer = graph.producer(name)
    if producer is None or producer.op != _DEQUANTIZE or any(i and i not in known for i in producer.inputs):
        return known
    return {**known, **evaluate_node(graph, producer, known)}


def _shape_results(graph: Graph, node: Node) -> dict[str, Array]:
    shape = np.array(graph.shape(node.inputs[0]), np.int64)
    if node.op == "onnx.Size":
        return {node.output: np.array(np.prod(shape), np.int64)}
    return {node.output: shape[node.get("start", 0) : node.get("end")]}


def _with_inferred_types(graph: Graph) -> Graph:
    """Infer types again where shapes are still unknown and all operators are ONNX's."""
    is_complete = all(value.shape is not None for value in graph.values.values())
    if is_complete or not all(node.is_onnx for node in graph.nodes):
        return graph
    values = dict(graph.values)
    values.update(_inferred(graph))
    return Graph(graph.name, values, graph.nodes, graph.constants, graph.inputs, graph.outputs, graph.opsets)


def _inferred(graph: Graph) -> dict[str, Value]:
    model = shape_inference.infer_shapes(to_model(graph), data_prop=True)
    infos = (*model.graph.value_info, *model.graph.output)
    found = (value_from_proto(info.name, info.type) for info in infos)
    return {value.name: value for value in found if value.shape is not None and value.name in graph.values}
