"""Joins the small operators that a layer normalization is spelled out in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.regions import Region, is_close, region_between, results_behind, values_before

_OPSET = 17  # of LayerNormalization
_OPERATORS = frozenset(
    f"onnx.{op}" for op in ("ReduceMean", "Sub", "Mul", "Pow", "Add", "Sqrt", "Reciprocal", "Div", "Cast")
)
_MOST_OPERATORS = 4  # from the square root to the end
_MOST_VALUES = 10  # that are tried as the argument
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Normalization:
    region: Region
    scale: Array
    bias: Array
    epsilon: float


@dataclass(frozen=True)
class FuseLayerNorm:
    """Find normalization over the last axis by what it computes.

    Before: `%d = onnx.Sub(%x, mean(%x))`, ..., `%n = onnx.Div(%d, onnx.Sqrt(mean(%d^2) + epsilon))`,
    `%y = %n * scale + bias`.
    After: `%y = onnx.LayerNormalization(%x, scale, bias)`.
    Meant for models that are quantized afterwards, of operator set 17 or newer.
    """

    name: str = "fuse-layer-norm"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with LayerNormalization in the place of what computes the same."""
        if graph.opsets.get("", 0) < _OPSET:
            return graph
        editor = GraphEditor(graph)
        for node in graph.nodes:
            found = _normalization(graph, node) if node.op == "onnx.Sqrt" else None
            if found is None:
                continue
            region = found.region
            inputs = [
                region.source,
                editor.constant(f"{region.result}/scale", found.scale.astype(np.float32)),
                editor.constant(f"{region.result}/bias", found.bias.astype(np.float32)),
            ]
            attributes = {"axis": -1, "epsilon": found.epsilon}
            editor.remove(region.nodes[-1])
            editor.node("onnx.LayerNormalization", inputs, [region.result], attributes, region.origin)
        return editor.finish()


def _normalization(graph: Graph, root: Node) -> _Normalization | None:
    epsilon = _epsilon(graph, root)
    if epsilon is None:
        return None
    for result in results_behind(graph, root, _OPERATORS, _MOST_OPERATORS):
        for source in values_before(graph, result, _OPERATORS, _MOST_VALUES):
            shape = graph.values[source].shape
            region = region_between(graph, source, result, _OPERATORS)
            if region is None or not shape or graph.values[result].shape != shape:
                continue
            parameters = _parameters(graph, region, shape, epsilon)
            if parameters is not None:
                return _Normalization(region, *parameters, epsilon)
    return None


def _epsilon(graph: Graph, root: Node) -> float | None:
    """Give the constant that is added under the square root."""
    add = graph.producer(root.inputs[0])
    if add is None or add.op != "onnx.Add":
        return None
    scalars = [array for array in map(graph.constant, add.inputs) if array is not None and array.size == 1]
    return float(scalars[0].reshape(())) if len(scalars) == 1 else None


def _parameters(graph: Graph, region: Region, shape: tuple[int, ...], epsilon: float) -> tuple[Array, Array] | None:
    """Solve for scale and bias by rows of random numbers; None when another row does not agree."""
    if shape[-1] < 2 or not _is_along_last_axis(graph, region, len(shape)):
        return None
    rows = np.random.default_rng(0).normal(size=(3, shape[-1])).astype(np.float32) * 2 + 1
    given = [region.evaluate(graph, row.reshape(*(1,) * (len(shape) - 1), -1)).reshape(-1) for row in rows]
    wide = rows.astype(np.float64)
    normal = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + epsilon)
    if any(row.shape != normal[0].shape for row in given):
        return None
    scale = (given[0] - given[1]) / (normal[0] - normal[1])
    bias = given[0] - scale * normal[0]
    reach = max(float(np.abs(scale).max()), 1.0)
    return (scale, bias) if is_close(given[2], scale * normal[2] + bias, _TOLERANCE * reach) else None


def _is_along_last_axis(graph: Graph, region: Region, rank: int) -> bool:
    """Whether means are over the last axis, and constants vary along no other."""
    for node in region.nodes:
        if node.op == "onnx.ReduceMean":
            given = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else np.array(node.get("axes", ()))
            if given is None or [int(axis) % rank for axis in given.reshape(-1)] != [rank - 1]:
                return False
            continue
        arrays = [array for array in map(graph.constant, node.inputs) if array is not None]
        if any(array.size > 1 and array.shape[-1] != array.size for array in arrays):
            return False
    return True
