"""Joins the small operators that a GELU is spelled out in."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.regions import Region, is_close, region_between, results_behind, values_before

_OPSET = 20  # of Gelu
_OPERATORS = frozenset(f"onnx.{op}" for op in ("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh"))
_MOST_OPERATORS = 4  # from the error function or tangent to the end
_MOST_VALUES = 8  # that are tried as the argument
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FuseGelu:
    """Find GELU by what it computes, however its products are ordered, in both of its forms.

    Before: `%t = onnx.Erf(%x / sqrt(2))`, ..., `%y = onnx.Mul(%x * 0.5, %t + 1)`. After: `%y = onnx.Gelu(%x)`.
    Meant for models that are quantized afterwards, of operator set 20 or newer.
    """

    name: str = "fuse-gelu"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with Gelu in the place of what computes the same."""
        if graph.opsets.get("", 0) < _OPSET:
            return graph
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op in ("onnx.Erf", "onnx.Tanh"):
                form = "none" if node.op == "onnx.Erf" else "tanh"
                region = _gelu(graph, results_behind(graph, node, _OPERATORS, _MOST_OPERATORS), form)
                if region is not None:
                    editor.remove(region.nodes[-1])
                    attributes = {"approximate": form}
                    editor.node("onnx.Gelu", [region.source], [region.result], attributes, region.origin)
        return editor.finish()


def _gelu(graph: Graph, results: list[str], form: str) -> Region | None:
    points = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = _computed(points, form)
    for result in results:
        for source in values_before(graph, result, _OPERATORS, _MOST_VALUES):
            region = region_between(graph, source, result, _OPERATORS)
            if region is None or not _has_scalars_only(graph, region):
                continue
            x = points.reshape(-1, *(1,) * max(len(graph.values[source].shape or ()) - 1, 0))
            if is_close(region.evaluate(graph, x).reshape(-1), expected, _TOLERANCE):
                return region
    return None


def _has_scalars_only(graph: Graph, region: Region) -> bool:
    arrays = [graph.constant(name) for node in region.nodes for name in node.inputs]
    return all(array is None or array.size == 1 for array in arrays)


def _computed(points: Array, form: str) -> Array:
    x = points.astype(np.float64)
    if form == "tanh":
        gate = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    else:
        gate = np.array([erf(value / np.sqrt(2)) for value in x])
    return np.asarray(0.5 * x * (1 + gate))
