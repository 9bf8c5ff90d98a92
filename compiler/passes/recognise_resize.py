"""Turns linear interpolation by whole factors into a convolution for each phase of the result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Unsuitable, required_source
from tilewright.compiler.passes.recognise_moves import interleaved
from tilewright.compiler.passes.resampling import neighbour_weights, resize_mode
from tilewright.compiler.passes.scaling import scaling_constants
from tilewright.compiler.passes.spread import gathered

#: The largest common denominator of shares that is looked for.
_MOST = 64


@dataclass(frozen=True)
class _Taps:
    """What a phase of the result is mixed of along a dimension: integer weights, of which `total` is a whole."""

    weights: tuple[Array, ...]
    total: int
    indices: tuple[int, ...]  # of the input, repeated at the ends


@dataclass(frozen=True)
class RecogniseResize:
    """Replace DequantizeLinear, Resize (linear, H and W by whole factors), QuantizeLinear.

    Before: `%f = onnx.Resize(dequantized x) {mode=linear}`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: the input with its border repeated, a depthwise qconv2d for each phase, and `%y = qinterleave(phases)`. The
    weights are integers over a common denominator, so that nothing is lost before the one rounding.
    """

    multiplier_bits: int = 16
    name: str = "recognise-resize"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable interpolation as integer operators."""
        return rewrite_quantized(graph, {"onnx.Resize": self._resize})

    def _resize(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        if resize_mode(node) == "nearest":  # with coordinates that are known it would move integers, and not be here
            raise Unsuitable(f"its coordinates are those of {node.get('coordinate_transformation_mode')}")
        if resize_mode(node) != "linear" or node.get("antialias", 0):
            raise Unsuitable(f"it interpolates ({resize_mode(node)})")
        source = required_source(graph, node.inputs[0])
        shape, wanted = graph.shape(source.name), graph.shape(result.name)
        if len(shape) != 4 or shape[:2] != wanted[:2]:
            raise Unsuitable("it resizes other dimensions than height and width")
        rows, columns = (_taps(graph, result, axis) for axis in (2, 3))
        x = gathered(editor, gathered(editor, source.name, 2, rows.indices), 3, columns.indices)
        total = rows.total * columns.total
        factor = source.quantization.scale / result.quantization.scale / total
        bias = np.full(shape[1], -source.quantization.zero * total)
        scaling = scaling_constants(editor, result.name, bias, [factor] * shape[1], self.multiplier_bits)
        attributes = {
            "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": shape[1],
            "zero_in": source.quantization.zero, "epilogue": result.epilogue,
        }  # fmt: skip
        phases = []
        for row, column in product(rows.weights, columns.weights):
            kernel = np.broadcast_to(np.outer(row, column).astype(np.int8), (shape[1], 1, len(row), len(column)))
            weight = editor.constant(f"{result.name}/weight", np.ascontiguousarray(kernel))
            output = (f"{result.name}/phase", "int8", shape)
            phases.append(editor.emit("qconv2d", (x, weight, *scaling, "", ""), output, attributes, result.origin))
        factors = (len(rows.weights), len(columns.weights))
        return phases[0] if factors == (1, 1) else interleaved(editor, phases, factors, wanted, result.origin)


def _taps(graph: Graph, result: QuantizedResult, axis: int) -> _Taps:
    """Weights for each phase along a dimension.

    Raises
    ------
    Unsuitable
        When they are no integers that int8 holds, together with those of the other dimension.
    """
    assert result.core is not None
    _, phases = neighbour_weights(graph, result.core, axis)
    shares = np.array([share for _, share in phases])
    totals = [total for total in range(1, _MOST + 1) if np.abs(shares * total - np.rint(shares * total)).max() < 1e-4]
    if not totals or totals[0] > 11:
        raise Unsuitable("its weights have no small common denominator")
    total = totals[0]
    low = min(first for first, _ in phases)
    size = max(first + (share > 1e-4) for first, share in phases) - low + 1
    weights = []
    for first, share in phases:
        taps = np.zeros(size + 1, np.int64)
        second = round(share * total)
        taps[first - low] += total - second
        taps[first - low + 1] += second
        weights.append(taps[:size])
    extent = graph.shape(result.core.inputs[0])[axis]
    places = np.clip(np.arange(low, low + extent + size - 1), 0, extent - 1)
    return _Taps(tuple(weights), total, tuple(int(place) for place in places))
