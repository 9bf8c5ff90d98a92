"""What a graph computes: every integer operator in plain integers, the rest through onnx.reference.

This is the meaning that every target (simulators, RTL, boards, CPU, GPU) reproduces bit for bit. Matrix products run
in floating point only where every partial sum is exactly representable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.inputs import check_inputs
from tilewright.compiler.graph.onnx_nodes import run_onnx_node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.qops import Epilogue, Residual, Window
from tilewright.compiler.row_functions import Normalization, normalise_rows, softmax_rows

Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]


def evaluate(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute a graph's outputs from its inputs, by name.

    Raises
    ------
    InputError
        When an input is missing, unknown, or of another shape or type than the graph's.
    """
    values = evaluate_all(graph, inputs)
    return {name: values[name] for name in graph.outputs}


def evaluate_all(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute every value of a graph, inputs and constants included."""
    check_inputs((graph.values[name] for name in graph.inputs), inputs)
    values: dict[str, Array] = {**graph.constants, **inputs}
    for node in graph.nodes:
        values.update(evaluate_node(graph, node, values))
    return values


def evaluate_node(graph: Graph, node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    """Compute one node's outputs from the values it reads."""
    if node.is_onnx:
        return run_onnx_node(node, values, graph.opsets)
    arrays = {formal.name: values[name] for formal, name in _operands(node) if name}
    if node.op in _JOINS:
        return {node.output: _JOINS[node.op](node, [values[name] for name in node.inputs])}
    return {node.output: _KERNELS[node.op](node, arrays)}


def requantize(total: Array, multiplier: Array, shift: Array, zero_out: int) -> Int64:
    """`(total * multiplier + half) >> shift`, plus `zero_out`, saturated to int8's range."""
    wide_shift = shift.astype(np.int64)
    half = (np.int64(1) << wide_shift) >> 1
    scaled = (total.astype(np.int64) * multiplier.astype(np.int64) + half) >> wide_shift
    return _saturated(scaled + zero_out)


def add_residual(y: Int64, b: Array, stage: Residual) -> Int64:
    """The residual stage of the epilogue, saturated to int8's range."""
    total = (y - stage.zero_a) * stage.multiplier_a + (b.astype(np.int64) - stage.zero_b) * stage.multiplier_b
    return _saturated(((total + ((1 << stage.shift) >> 1)) >> stage.shift) + stage.zero_out)


def finish(y: Int64, epilogue: Epilogue, arrays: Mapping[str, Array]) -> Int8:
    """Everything in the epilogue after requantization: residual stage, clamp and table."""
    if epilogue.residual is not None:
        y = add_residual(y, arrays["residual"], epilogue.residual)
    result = np.clip(y, epilogue.clamp_low, epilogue.clamp_high).astype(np.int8)
    if "table" in arrays:
        return _looked_up(result, arrays["table"])
    return result


def _qconv2d(node: Node, arrays: Mapping[str, Array]) -> Array:
    weight = arrays["weight"]
    window = Window(weight.shape[2:], node["strides"], node["pads"], node["dilations"])
    patches = _windows(arrays["x"], window, node["zero_in"])
    total = _conv_sums(patches, weight, node["groups"])
    return _epilogue(node, arrays, total, channel_axis=1)


def _conv_sums(patches: Array, weight: Array, groups: int) -> Array:
    """Sum `[N,C,OH,OW,KH,KW]` windows times weights `[O,C/groups,KH,KW]` to `[N,O,OH,OW]`."""
    batch, channels, rows, columns = patches.shape[:4]
    outputs, depth = weight.shape[:2]
    if depth == 1 and outputs == channels:
        return _depthwise_sums(patches, weight[:, 0])
    kernels = weight.reshape(groups, outputs // groups, -1)
    columns_of = patches.reshape(batch, groups, depth, rows, columns, *patches.shape[4:])
    lowered = columns_of.transpose(1, 2, 5, 6, 0, 3, 4).reshape(groups, kernels.shape[2], -1)
    total = _exact_matmul(kernels, lowered).reshape(outputs, batch, rows, columns)
    return np.asarray(np.moveaxis(total, 0, 1))


def _depthwise_sums(patches: Array, weight: Array) -> Array:
    """One kernel `[C,KH,KW]` a channel: a sum over the taps."""
    total = np.zeros(patches.shape[:4], np.int32)
    for row, column in np.ndindex(*weight.shape[1:]):
        total += patches[..., row, column].astype(np.int32) * weight[:, row, column, None, None].astype(np.int32)
    return total


def _qmatmul(node: Node, arrays: Mapping[str, Array]) -> Array:
    total = _exact_matmul(arrays["weight"].T, np.moveaxis(arrays["x"], -1, 0).reshape(arrays["x"].shape[-1], -1))
    total = total.T.reshape(*arrays["x"].shape[:-1], -1)
    return _epilogue(node, arrays, total, channel_axis=-1)


def _qbatchmatmul(node: Node, arrays: Mapping[str, Array]) -> Array:
    kind = np.float32 if 255 * 255 * arrays["x"].shape[-1] < 1 << 24 else np.float64  # in which sums are exact
    x, y = arrays["x"].astype(kind) - node["zero_in"], arrays["y"].astype(kind) - node["zero_y"]
    return _epilogue(node, arrays, np.matmul(x, np.swapaxes(y, -1, -2)).astype(np.int64), channel_axis=-1)


def _qsoftmax(node: Node, arrays: Mapping[str, Array]) -> Array:
    return _epilogue(node, arrays, softmax_rows(arrays["x"], node["scale"]), channel_axis=-1)


def _qnormalize(node: Node, arrays: Mapping[str, Array]) -> Array:
    operands = Normalization(node["mean_scale"], node["mean_shift"], node["count_log"], node["epsilon"])
    normal = normalise_rows(arrays["x"], operands)
    return _epilogue(node, arrays, np.where(arrays["negate"], -normal, normal), channel_axis=-1)


def _split_heads(node: Node, arrays: Mapping[str, Array]) -> Array:
    x = arrays["x"]
    split = x.reshape(*x.shape[:-1], node["heads"], -1)
    return np.ascontiguousarray(np.swapaxes(split, -2, -3))


def _merge_heads(node: Node, arrays: Mapping[str, Array]) -> Array:
    moved = np.swapaxes(arrays["x"], -2, -3)
    return np.ascontiguousarray(moved).reshape(*moved.shape[:-2], -1)


def _exact_matmul(weight: Array, data: Array) -> Array:
    """`weight @ data` of int8 matrices, in the narrowest type in which every partial sum is exact."""
    bound = 128 * int(np.abs(weight.astype(np.int64)).sum(axis=-1).max(initial=0))
    kind = np.float32 if bound < 1 << 24 else np.float64
    return np.asarray(np.matmul(weight.astype(kind), data.astype(kind))).astype(np.int64)


def _qadd(node: Node, arrays: Mapping[str, Array]) -> Array:
    return finish(arrays["x"].astype(np.int64), node["epilogue"], arrays)


def _qmul(node: Node, arrays: Mapping[str, Array]) -> Array:
    a, b = arrays["x"].astype(np.int64) - node["zero_a"], arrays["b"].astype(np.int64) - node["zero_b"]
    return _epilogue(node, arrays, a * b, channel_axis=-1)


def _qmaxpool(node: Node, arrays: Mapping[str, Array]) -> Array:
    patches = _windows(arrays["x"], _window_of(node), qops.INT8_MIN)
    return np.asarray(patches.max(axis=(4, 5)))


def _qavgpool(node: Node, arrays: Mapping[str, Array]) -> Array:
    window = _window_of(node)
    total = _windows(arrays["x"], window, node["zero_in"]).sum(axis=(4, 5), dtype=np.int64)
    height, width = arrays["x"].shape[2:]
    counts = qops.window_counts(window, height, width, node["counted_pads"])
    region = np.searchsorted(np.array(node["counts"]), counts)  # [OH, OW], which multiplier holds where
    y = requantize(
        total + arrays["bias"], arrays["multiplier"][region], arrays["shift"][region], node["epilogue"].zero_out
    )
    return finish(y, node["epilogue"], arrays)


def _qglobalavgpool(node: Node, arrays: Mapping[str, Array]) -> Array:
    total = arrays["x"].sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    return _epilogue(node, arrays, total, channel_axis=1)


def _qrequantize(node: Node, arrays: Mapping[str, Array]) -> Array:
    return _epilogue(node, arrays, arrays["x"], channel_axis=-1)


def _qpad(node: Node, arrays: Mapping[str, Array]) -> Array:
    begins, ends = np.split(np.array(node["pads"]), 2)
    widths = list(zip(begins, ends, strict=True))
    return np.pad(arrays["x"], widths, constant_values=node["value"])


def _qconcat(node: Node, parts: list[Array]) -> Array:
    return np.concatenate(parts, axis=node["axis"])


def _qinterleave(node: Node, parts: list[Array]) -> Array:
    rows, columns = node["factors"]
    result = np.empty((*parts[0].shape[:2], *node["extents"]), np.int8)
    for index, part in enumerate(parts):
        result[:, :, index // columns :: rows, index % columns :: columns] = part
    return result


def _looked_up(x: Int8, table: Array) -> Int8:
    return table[x.astype(np.int64) + 128].astype(np.int8)


def _epilogue(node: Node, arrays: Mapping[str, Array], total: Array, channel_axis: int) -> Int8:
    """Add the bias to the sums and pass them through the whole epilogue; parameters are per channel or `[1]`."""
    shape = [1] * total.ndim
    shape[channel_axis] = -1
    bias, multiplier, shift = (arrays[name].reshape(shape) for name in ("bias", "multiplier", "shift"))
    accumulator = (total.astype(np.int64) + bias).astype(np.int32)  # wraps as the accumulator does
    y = requantize(accumulator, multiplier, shift, node["epilogue"].zero_out)
    return finish(y, node["epilogue"], arrays)


def _windows(x: Array, window: Window, pad_value: int) -> Array:
    """View the windows of `x [N,C,H,W]` as `[N,C,OH,OW,KH,KW]`."""
    top, left, bottom, right = window.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad_value)
    spans = tuple((k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True))
    views = sliding_window_view(padded, spans, axis=(2, 3))
    (sh, sw), (dh, dw) = window.strides, window.dilations
    return views[:, :, ::sh, ::sw, ::dh, ::dw]


def _window_of(node: Node) -> Window:
    return Window(node["kernel"], node["strides"], node["pads"], node["dilations"])


def _saturated(y: Int64) -> Int64:
    return np.clip(y, qops.INT8_MIN, qops.INT8_MAX)


def _operands(node: Node) -> list[tuple[qops.Operand, str]]:
    return list(zip(qops.OPERATORS[node.op].operands, node.inputs, strict=False))


_KERNELS: Mapping[str, Callable[[Node, Mapping[str, Array]], Array]] = {
    "qconv2d": _qconv2d,
    "qmatmul": _qmatmul,
    "qadd": _qadd,
    "qmul": _qmul,
    "qmaxpool": _qmaxpool,
    "qavgpool": _qavgpool,
    "qglobalavgpool": _qglobalavgpool,
    "qrequantize": _qrequantize,
    "qclamp": lambda node, arrays: np.clip(arrays["x"], node["low"], node["high"]).astype(np.int8),
    "qtable": lambda node, arrays: _looked_up(arrays["x"], arrays["table"]),
    "qpad": _qpad,
    "qbatchmatmul": _qbatchmatmul,
    "qsoftmax": _qsoftmax,
    "qnormalize": _qnormalize,
    "qgather": lambda node, arrays: np.take(arrays["x"], node["indices"], axis=node["axis"]),
    "split_heads": _split_heads,
    "merge_heads": _merge_heads,
    "reshape": lambda node, arrays: arrays["x"].reshape(node["shape"]),
    "transpose": lambda node, arrays: np.ascontiguousarray(arrays["x"].transpose(node["perm"])),
    "to_int8": lambda node, arrays: (arrays["x"] ^ np.uint8(128)).view(np.int8),
    "to_uint8": lambda node, arrays: arrays["x"].view(np.uint8) ^ np.uint8(128),
}

_JOINS: Mapping[str, Callable[[Node, list[Array]], Array]] = {"qconcat": _qconcat, "qinterleave": _qinterleave}
