"""Reads the quantization parameters around a node: what the recognising passes share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array

DEQUANTIZE = "onnx.DequantizeLinear"
QUANTIZE = "onnx.QuantizeLinear"


class Unsuitable(Exception):
    """A quantized operator has no integer form; the text says why, for the report."""


@dataclass(frozen=True)
class Scale:
    """A per-tensor quantization: `real = (integer - zero) * scale`."""

    scale: float
    zero: int

    def quantized(self, real: float) -> int:
        """The int8 nearest to a real number, as QuantizeLinear rounds and saturates."""
        nearest = float(np.rint(np.float32(real) / np.float32(self.scale))) + self.zero
        return int(min(max(nearest, -128), 127))


@dataclass(frozen=True)
class Source:
    """An int8 value that a node reads dequantized."""

    name: str
    quantization: Scale


def tensor_scale(graph: Graph, node: Node) -> Scale | None:
    """The parameters of a per-tensor QuantizeLinear or DequantizeLinear; None when they are not constant scalars."""
    scale = graph.constant(node.inputs[1])
    zero = _zero_point(graph, node)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    factor = float(scale.reshape(()))
    if not (np.isfinite(factor) and factor > 0):
        return None
    return Scale(factor, int(zero.reshape(())))


def int8_source(graph: Graph, name: str) -> Source | None:
    """The int8 value behind a dequantized one; None when there is no constant per-tensor quantization."""
    node = graph.producer(name)
    if node is None or node.op != DEQUANTIZE or graph.dtype(node.inputs[0]) != "int8":
        return None
    quantization = tensor_scale(graph, node)
    return None if quantization is None else Source(node.inputs[0], quantization)


def required_source(graph: Graph, name: str) -> Source:
    """`int8_source`, or Unsuitable with the reason."""
    source = int8_source(graph, name)
    if source is not None:
        return source
    node = graph.producer(name)
    if node is not None and node.op == DEQUANTIZE:
        kind = graph.dtype(node.inputs[0])
        raise Unsuitable(
            f"its input is quantized as {kind} with scales that are not one constant"
            if kind == "int8"
            else f"its input is quantized as {kind}, not as 8-bit integers"
        )
    raise Unsuitable("an input is not quantized")


@dataclass(frozen=True)
class Weights:
    """Int8 weights (wider where that is said) with zero point 0 and a scale for each output channel."""

    array: Array
    scales: Array  # float64 [channels]


def weights_of(graph: Graph, name: str, axis: int, *, may_be_wide: bool = False) -> Weights:
    """The weights behind a dequantized constant whose output channels lie on `axis`.

    A zero point is taken off the integers. Where they need nine bits then, they are int64 if that is allowed.

    Raises
    ------
    Unsuitable
        When they are not constant 8-bit integers, or do not fit in int8 without their zero point.
    """
    node = graph.producer(name)
    array = graph.constant(node.inputs[0]) if node is not None and node.op == DEQUANTIZE else None
    if node is None or array is None:
        raise Unsuitable("its weights are not constant integers")
    if array.dtype.name not in ("int8", "uint8") or node.get("block_size", 0):
        raise Unsuitable(f"its weights are {array.dtype.name}, or scaled by blocks")
    scale, zero = graph.constant(node.inputs[1]), _zero_point(graph, node)
    if scale is None or zero is None or not np.all(np.isfinite(scale) & (scale > 0)):
        raise Unsuitable("the scales of its weights are not positive constants")
    given = node.get("axis", 1) % max(array.ndim, 1)
    if scale.size > 1 and given != axis:
        raise Unsuitable(f"its weights are scaled along dimension {given}, not along output channels")
    if axis >= array.ndim or scale.size not in (1, array.shape[axis]) or zero.size not in (1, array.shape[axis]):
        raise Unsuitable(f"its weights of shape {array.shape} do not go with {scale.size} scales")
    shape = [1] * array.ndim
    shape[axis] = -1
    shifted = array.astype(np.int64) - zero.astype(np.int64).reshape(shape)
    scales = np.broadcast_to(scale.astype(np.float64).reshape(-1), array.shape[axis])
    if shifted.min(initial=0) >= -128 and shifted.max(initial=0) <= 127:
        return Weights(shifted.astype(np.int8), scales)
    if not may_be_wide:
        raise Unsuitable("its weights have a zero point without which they exceed int8")
    return Weights(shifted, scales)


def real_constant(graph: Graph, name: str) -> Array | None:
    """The real value, float64, of a float constant or of a dequantized constant; None for anything else."""
    array = graph.constant(name)
    if array is not None:
        return array.astype(np.float64) if array.dtype.kind == "f" else None
    node = graph.producer(name)
    if node is None or node.op != DEQUANTIZE or node.get("block_size", 0):
        return None
    integers, scale, zero = graph.constant(node.inputs[0]), graph.constant(node.inputs[1]), _zero_point(graph, node)
    if integers is None or scale is None or zero is None:
        return None
    shape, axis = [1] * integers.ndim, node.get("axis", 1)
    if scale.size > 1:
        if not -integers.ndim <= axis < integers.ndim or integers.shape[axis] != scale.size:
            return None
        shape[axis] = -1
    if zero.size not in (1, scale.size):
        return None
    offset = integers.astype(np.float64) - zero.astype(np.float64).reshape(shape if zero.size > 1 else [1] * len(shape))
    return np.asarray(offset * scale.astype(np.float64).reshape(shape))


def _zero_point(graph: Graph, node: Node) -> Array | None:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros((), np.int64)
    return graph.constant(node.inputs[2])
