"""Turns quantized transposed convolutions into a convolution for each phase of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import (
    Unsuitable,
    Weights,
    real_constant,
    required_source,
    weights_of,
)
from tilewright.compiler.passes.recognise_moves import interleaved
from tilewright.compiler.passes.scaling import folded_bias, scaling_constants
from tilewright.compiler.passes.wide_weights import narrowed
from tilewright.compiler.passes.windows import as_image


@dataclass(frozen=True)
class Phase:
    """Every `stride`-th place of the result along a dimension, as a convolution.

    Parameters
    ----------
    taps
        Places in the transposed kernel, in the order of the input; -1 is a place of zeros, so that no pad is negative.
    dilation
    begin, end
        Pads.
    """

    taps: tuple[int, ...]
    dilation: int
    begin: int
    end: int


@dataclass(frozen=True)
class RecogniseConvTranspose:
    """Replace DequantizeLinear, ConvTranspose (Relu, Clip) QuantizeLinear.

    Before: `%f = onnx.ConvTranspose(dequantized x, w, b) {strides=[2, 2]}`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: four qconv2d of the same input, each with a quarter of the kernel, and `%y = qinterleave(...)` of them.
    """

    multiplier_bits: int = 16
    name: str = "recognise-conv-transpose"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable transposed convolution as integer operators."""
        return rewrite_quantized(graph, {"onnx.ConvTranspose": self._build})

    def _build(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        source = required_source(graph, node.inputs[0])
        x = source.name
        if len(graph.shape(x)) not in (3, 4):
            raise Unsuitable(f"its input has {len(graph.shape(x))} dimensions")
        groups = node.get("group", 1)
        weights = _weights(graph, node, groups)
        bias = _bias(graph, node)
        folded_bias(weights, 0, source.quantization, bias)  # refuses sums that may exceed 32 bits
        x, weights = narrowed(editor, as_image(editor, x), weights, 1, groups, 1)
        shape = _as_plane(graph.shape(result.name))
        rows, columns = _phases(graph, node)
        factors = source.quantization.scale * weights.scales / result.quantization.scale
        parts = []
        for row, column in product(rows, columns):
            kernel = Weights(_taken(weights.array, row.taps, column.taps), weights.scales)
            folded = folded_bias(kernel, 0, source.quantization, bias)
            scaling = scaling_constants(editor, result.name, folded, factors, self.multiplier_bits)
            attributes = {
                "strides": (1, 1), "pads": (row.begin, column.begin, row.end, column.end),
                "dilations": (row.dilation, column.dilation), "groups": groups,
                "zero_in": source.quantization.zero, "epilogue": result.epilogue,
            }  # fmt: skip
            extents = _extents(editor.shape(x), row, column)
            output = (f"{result.name}/phase", "int8", (*shape[:2], *extents))
            weight = editor.constant(f"{result.name}/weight", kernel.array)
            parts.append(editor.emit("qconv2d", (x, weight, *scaling, "", ""), output, attributes, result.origin))
        y = parts[0]
        if len(parts) > 1:
            y = interleaved(editor, parts, (len(rows), len(columns)), shape, result.origin)
        wanted = graph.shape(result.name)
        if wanted == shape:
            return y
        return editor.emit("reshape", [y], (f"{result.name}/line", "int8", wanted), {"shape": wanted}, result.origin)


def _weights(graph: Graph, node: Node, groups: int) -> Weights:
    """The weights as those of a convolution that does not turn them round, `[O, C/groups, KH, KW]`."""
    given = weights_of(graph, node.inputs[1], axis=1, may_be_wide=True)
    inputs, outputs, *kernel = given.array.shape
    by_groups = given.array.reshape(groups, inputs // groups, outputs, *_as_plane((0, 0, *kernel))[2:])
    array = by_groups.swapaxes(1, 2).reshape(groups * outputs, inputs // groups, *by_groups.shape[3:])
    return Weights(array, np.tile(given.scales, groups))


def _bias(graph: Graph, node: Node) -> Array | None:
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name:
        return None
    bias = real_constant(graph, name)
    if bias is None:
        raise Unsuitable("its bias is not constant")
    return bias


def _as_plane(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape `[N,C,L]` as `[N,C,1,L]`."""
    return tuple(shape) if len(shape) == 4 else (*shape[:2], 1, *shape[2:])


def _taken(array: Array, rows: Sequence[int], columns: Sequence[int]) -> Array:
    """The kernel's taps that a phase sees; zeros for -1."""
    padded = np.pad(array, ((0, 0), (0, 0), (0, 1), (0, 1)))  # the last row and column, -1, are zeros
    return np.ascontiguousarray(padded[:, :, list(rows)][:, :, :, list(columns)])


def _extents(shape: Sequence[int], row: Phase, column: Phase) -> tuple[int, ...]:
    return tuple(
        extent + phase.begin + phase.end - (len(phase.taps) - 1) * phase.dilation
        for extent, phase in zip(shape[2:], (row, column), strict=True)
    )


def _phases(graph: Graph, node: Node) -> tuple[list[Phase], list[Phase]]:
    """The phases of rows and of columns."""
    extents, results = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:]
    kernel = graph.shape(node.inputs[1])[2:]
    found = []
    for axis in range(len(extents)):
        stride, dilation = (node.get(name, (1,) * len(extents))[axis] for name in ("strides", "dilations"))
        pad = _begin(node, axis, extents[axis], results[axis], kernel[axis], stride, dilation)
        count = min(stride, results[axis])
        found.append(
            [_phase(index, stride, dilation, kernel[axis], pad, extents[axis], results[axis]) for index in range(count)]
        )
    return (found[0], found[1]) if len(found) == 2 else ([Phase((0,), 1, 0, 0)], found[0])


def _begin(node: Node, axis: int, extent: int, result: int, kernel: int, stride: int, dilation: int) -> int:
    """The pad before the first place."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", "") and "output_shape" not in node.attributes:
        pads = node.get("pads", ())
        return int(pads[axis]) if pads else 0
    if mode == "VALID":
        return 0
    extra = int(node.get("output_padding", (0,) * (axis + 1))[axis])
    total = max(stride * (extent - 1) + extra + (kernel - 1) * dilation + 1 - result, 0)
    half: int = total // 2
    return half if mode == "SAME_UPPER" else total - half


def _phase(index: int, stride: int, dilation: int, kernel: int, pad: int, extent: int, result: int) -> Phase:
    """Place `index + stride * q` of the result is a sum over the input's places `q + offset`, one for each tap."""
    count = -(-(result - index) // stride)
    taps = [tap for tap in reversed(range(kernel)) if (index + pad - tap * dilation) % stride == 0]
    offsets = [(index + pad - tap * dilation) // stride for tap in taps]
    if not taps:
        taps, offsets = [-1], [0]
    step = offsets[1] - offsets[0] if len(offsets) > 1 else 1
    begin, end = -offsets[0], count - 1 + offsets[-1] - (extent - 1)
    while begin < 0:
        taps, begin = [-1, *taps], begin + step
    while end < 0:
        taps, end = [*taps, -1], end + step
    return Phase(tuple(taps), step, begin, end)
