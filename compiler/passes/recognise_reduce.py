"""Turns sums and means over dimensions into pooling and products with ones, and largest values into MaxPool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Shape
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.operands import constant_integers, dimensions
from tilewright.compiler.passes.quantization import Source, Unsuitable, required_source
from tilewright.compiler.passes.scaling import scaling_constants


@dataclass(frozen=True)
class RecogniseReduce:
    """Replace DequantizeLinear, ReduceMean or ReduceSum, QuantizeLinear.

    Before: `%f = onnx.ReduceSum(dequantized x [1,8,4,4]) {axes=[3]}`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qavgpool(%x, ...)` with a kernel as wide as the image. Sums over channels are a qconv2d or a
    qmatmul whose weights are ones.
    """

    multiplier_bits: int = 16
    name: str = "recognise-reduce"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable sum as an integer operator."""
        return rewrite_quantized(graph, {"onnx.ReduceMean": self._reduce, "onnx.ReduceSum": self._reduce})

    def _reduce(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, node = editor.graph, result.core
        assert node is not None
        source = required_source(graph, node.inputs[0])
        shape, axes = graph.shape(source.name), reduced_axes(graph, node)
        if not axes or 0 in axes or not all(shape):
            raise Unsuitable(f"it reduces dimensions {axes}")
        build = self._rule(graph, source.name, axes)
        if build is None:
            raise Unsuitable(node.reason or f"it reduces dimensions {axes}")
        count = prod(shape[axis] for axis in axes)
        factor = source.quantization.scale / result.quantization.scale
        factor /= count if node.op == "onnx.ReduceMean" else 1
        y = build(editor, result, source, axes, factor)
        wanted = graph.shape(result.name)
        if editor.shape(y) == wanted:
            return y
        return editor.emit("reshape", [y], (f"{result.name}/shaped", "int8", wanted), {"shape": wanted}, result.origin)

    def _rule(
        self, graph: Graph, name: str, axes: tuple[int, ...]
    ) -> Callable[[GraphEditor, QuantizedResult, Source, tuple[int, ...], float], str] | None:
        rank = len(graph.shape(name))
        if rank == 4:
            return self._by_ones if 1 in axes else self._by_pool
        return self._by_rows if axes == (rank - 1,) and not (rank == 3 and _is_image(graph, name)) else None

    def _by_pool(
        self, editor: GraphEditor, result: QuantizedResult, source: Source, axes: tuple[int, ...], factor: float
    ) -> str:
        shape = editor.graph.shape(source.name)
        kernel = tuple(shape[axis] if axis in axes else 1 for axis in (2, 3))
        bias = np.array([-source.quantization.zero * prod(kernel)])
        scaling = scaling_constants(editor, result.name, bias, [factor], self.multiplier_bits)
        reduced = (*shape[:2], *(1 if axis in axes else shape[axis] for axis in (2, 3)))
        output, inputs = (f"{result.name}/pool", "int8", reduced), (source.name, *scaling, "", "")
        if kernel == shape[2:]:
            return editor.emit("qglobalavgpool", inputs, output, {"epilogue": result.epilogue}, result.origin)
        attributes = {
            "kernel": kernel, "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1),
            "counted_pads": (0, 0, 0, 0), "counts": (prod(kernel),), "zero_in": source.quantization.zero,
            "epilogue": result.epilogue,
        }  # fmt: skip
        return editor.emit("qavgpool", inputs, output, attributes, result.origin)

    def _by_ones(
        self, editor: GraphEditor, result: QuantizedResult, source: Source, axes: tuple[int, ...], factor: float
    ) -> str:
        batch, channels, *extents = editor.graph.shape(source.name)
        kernel = tuple(extent if axis in axes else 1 for axis, extent in zip((2, 3), extents, strict=True))
        count = channels * prod(kernel)
        scaling = scaling_constants(
            editor, result.name, np.array([-source.quantization.zero * count]), [factor], self.multiplier_bits
        )
        weight = editor.constant(f"{result.name}/ones", np.ones((1, channels, *kernel), np.int8))
        reduced = (batch, 1, *(1 if axis in axes else e for axis, e in zip((2, 3), extents, strict=True)))
        attributes = {
            "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1,
            "zero_in": source.quantization.zero, "epilogue": result.epilogue,
        }  # fmt: skip
        inputs = (source.name, weight, *scaling, "", "")
        return editor.emit("qconv2d", inputs, (f"{result.name}/sum", "int8", reduced), attributes, result.origin)

    def _by_rows(
        self, editor: GraphEditor, result: QuantizedResult, source: Source, axes: tuple[int, ...], factor: float
    ) -> str:
        shape = editor.graph.shape(source.name)
        bias = np.array([-source.quantization.zero * shape[-1]])
        scaling = scaling_constants(editor, result.name, bias, [factor], self.multiplier_bits)
        weight = editor.constant(f"{result.name}/ones", np.ones((shape[-1], 1), np.int8))
        attributes = {"zero_in": source.quantization.zero, "epilogue": result.epilogue}
        inputs = (source.name, weight, *scaling, "", "")
        output = (f"{result.name}/sum", "int8", (*shape[:-1], 1))
        return editor.emit("qmatmul", inputs, output, attributes, result.origin)


@dataclass(frozen=True)
class MaxOfDimensions:
    """Write GlobalMaxPool and ReduceMax as MaxPool, where what is reduced can lie in a plane.

    Before: `%y = onnx.GlobalMaxPool(%x: float32[1,8,4,4])`. After: `%y = onnx.MaxPool(%x) {kernel_shape=[4, 4]}`.
    """

    name: str = "max-of-dimensions"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without such operators."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op not in ("onnx.GlobalMaxPool", "onnx.ReduceMax"):
                continue
            values = [graph.values[name] for name in (node.inputs[0], node.output)]
            if all(value.shape and value.dtype in ("float32", "int8", "uint8") for value in values):
                _rewrite_max(editor, node)
        return editor.finish()


def _rewrite_max(editor: GraphEditor, node: Node) -> None:
    graph = editor.graph
    x, shape, wanted = node.inputs[0], graph.shape(node.inputs[0]), graph.shape(node.output)
    kind, rank = graph.dtype(x), len(graph.shape(x))
    try:
        axes = tuple(range(2, rank)) if node.op == "onnx.GlobalMaxPool" else reduced_axes(graph, node)
    except Unsuitable:
        return
    if rank == 3 and axes == (1,):  # tokens: their channels become those of an image
        turned = (shape[0], shape[2], shape[1])
        x = editor.emit("transpose", [x], (f"{node.output}/turned", kind, turned), {"perm": (0, 2, 1)}, node.origin)
        shape, axes = turned, (2,)
    if rank not in (3, 4) or not axes or min(axes) < 2:
        return
    kernel = tuple(shape[axis] if axis in axes else 1 for axis in range(2, rank))
    pooled: Shape = (*shape[:2], *(1 if axis in axes else shape[axis] for axis in range(2, rank)))
    editor.remove(node)
    if pooled == wanted:
        editor.node("onnx.MaxPool", [x], [node.output], {"kernel_shape": kernel}, node.origin)
        return
    y = editor.emit("onnx.MaxPool", [x], (f"{node.output}/pool", kind, pooled), {"kernel_shape": kernel}, node.origin)
    editor.node("reshape", [y], [node.output], {"shape": wanted}, node.origin)


def reduced_axes(graph: Graph, node: Node) -> tuple[int, ...]:
    """The dimensions that a reduction removes, sorted; none where it does nothing.

    Raises
    ------
    Unsuitable
        When they are not constant, or no dimensions of the tensor.
    """
    rank = len(graph.shape(node.inputs[0]))
    given = constant_integers(graph, node, 1, "axes")
    if not given:
        return () if node.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(dimensions(given, rank)))


def _is_image(graph: Graph, name: str) -> bool:
    """Whether a value `[N,C,L]` comes from an image, through what works element by element."""
    node = graph.producer(name)
    while node is not None and node.op in ("qadd", "qmul", "qclamp", "qtable", "qrequantize"):
        node = graph.producer(node.inputs[0])
    return node is not None and node.op == "reshape" and len(graph.shape(node.inputs[0])) == 4
