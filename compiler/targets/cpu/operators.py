"""How each integer operator becomes launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE, tensor_scale
from tilewright.compiler.targets.cpu import pointwise, rows, windows
from tilewright.compiler.targets.cpu.batch_product import lower_batch_product
from tilewright.compiler.targets.cpu.convolution import Convolution
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish
from tilewright.compiler.targets.cpu.lowering import CpuLowering
from tilewright.compiler.targets.kernels.integer_operands import can_lower, region
from tilewright.compiler.targets.kernels.layout import Image, Placed, View
from tilewright.compiler.targets.kernels.lowering import Need
from tilewright.compiler.targets.kernels.movement import MOVEMENT
from tilewright.isa.ir import DType

_BYTE_MAX = 255


def _largest_sum(weight: NDArray[np.int8], bias: NDArray[np.int32]) -> int:
    """Bound the sums with bias: inputs are at most 128."""
    products = 128 * np.abs(weight.astype(np.int64)).reshape(weight.shape[0], -1).sum(axis=1)
    return int((products + np.abs(bias.astype(np.int64))).max())


def _convolution(state: CpuLowering, node: Node) -> None:
    graph = state.graph
    weight = np.asarray(graph.constants[qops.operand(node, "weight")])
    window = qops.window(graph, node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    less = OFFSET * weight.astype(np.int64).reshape(weight.shape[0], -1).sum(axis=1)
    scaling = state.scaling(node, less, _largest_sum(weight, state.array(node, "bias")))
    finish = state.finish(node, scaling)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    pads, macs = (window.pads[0], window.pads[1]), qops.mac_count(graph, node)
    if node["groups"] == 1:
        problem = Convolution(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
        _dense(state, node, problem, weight, arguments)
        return
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
    source: windows.Depthwise | windows.Grouped
    if weight.shape[1] == 1 and weight.shape[0] == x.channels and max(window.kernel) <= 11:
        depthwise = windows.Depthwise(sliding)
        source = replace(depthwise, schedule=state.choose(depthwise))
    else:
        source = windows.Grouped(sliding, node["groups"], weight.shape[1])
    arguments["w"] = state.constant(f"{node.output}:w", source.pack(weight))
    state.emit(node, source, arguments, macs)


def _dense(
    state: CpuLowering, node: Node, problem: Convolution, weight: NDArray[np.int8], arguments: dict[str, str]
) -> None:
    chosen = replace(problem, schedule=state.choose(problem))
    arguments["w"] = state.constant(f"{node.output}:w", chosen.pack(weight))
    state.emit(node, chosen, arguments, qops.mac_count(state.graph, node))


def _matrix(state: CpuLowering, node: Node) -> None:
    weight = np.asarray(state.graph.constants[qops.operand(node, "weight")]).T[:, :, None, None]
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    less = OFFSET * weight.astype(np.int64).reshape(weight.shape[0], -1).sum(axis=1)
    scaling = state.scaling(node, less, _largest_sum(weight, state.array(node, "bias")))
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    problem = Convolution(x, y, (1, 1), (1, 1), (1, 1), (0, 0), state.finish(node, scaling), residual)
    _dense(state, node, problem, weight, arguments)


def _max_pool(state: CpuLowering, node: Node) -> None:
    window = qops.window(state.graph, node)
    storage, x = state.image(node, node.inputs[0])
    y = state.new_image(node.output)
    pads = (window.pads[0], window.pads[1])
    finish = state.finish(node, None)
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish)
    state.emit(node, windows.MaxPool(sliding), {"x": storage, "y": state.places[node.output].storage})


def _average_pool(state: CpuLowering, node: Node) -> None:
    window = qops.window(state.graph, node)
    storage, x = state.image(node, node.inputs[0])
    pads = (window.pads[0], window.pads[1])
    _sum(state, node, storage, x, (window.kernel, window.strides, window.dilations, pads), region(state.graph, node))


def _global_average(state: CpuLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    _sum(state, node, storage, x, ((x.height, x.width), (1, 1), (1, 1), (0, 0)))


_Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def _sum(state: CpuLowering, node: Node, storage: str, x: Image, window: _Window, number: int | None = None) -> None:
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    count = prod(window[0])
    largest = OFFSET * count + int(np.abs(state.array(node, "bias").astype(np.int64)).max())
    scaling = state.scaling(node, OFFSET * count, largest, number)
    sliding = windows.Sliding(x, y, *window, state.finish(node, scaling), residual)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    state.emit(node, windows.AveragePool(sliding), arguments)


def _pointwise(state: CpuLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling, bias = None, 0
    if node.op == "qrequantize":
        bias = int(state.array(node, "bias")[0])
        scaling = state.scaling(node, 0, abs(bias) + OFFSET)
    finish = state.finish(node, scaling)
    if node.op == "qclamp":
        finish = Finish.of(state.level, qops.Epilogue(clamp_low=node["low"], clamp_high=node["high"]), None, False)
    parameters = state.parameters(node, scaling, y.pitch, has_bias=False)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **parameters}
    state.emit(node, pointwise.Pointwise(x, y, finish, bias, residual), arguments)


# ---- moves ---------------------------------------------------------------------------------------------------


def _gather_places(state: CpuLowering, node: Node) -> None:
    placed = state.operand(node.inputs[0])
    target = state.new_plain(node.output)
    axis = node["axis"] % len(target.view.shape)
    indices = tuple(int(i) % placed.view.shape[axis] for i in node["indices"])
    source = pointwise.GatherPlaces(placed.view, placed.size, target.view, target.size, axis, indices)
    state.emit(node, source, {"x": placed.storage, "y": target.storage})


def _pad(state: CpuLowering, node: Node) -> None:
    placed = state.operand(node.inputs[0])
    y = state.new_image(node.output)
    begins = tuple(node["pads"])[: len(placed.view.shape)]
    source = pointwise.Pad(placed.view, placed.size, y.view, y.size, begins, node["value"] + OFFSET)
    state.emit(node, source, {"x": placed.storage, "y": state.places[node.output].storage})


def _same_bytes(state: CpuLowering, node: Node) -> None:
    """Change between uint8 and int8: both are the same offset bytes."""
    state.places[node.output] = state.places[node.inputs[0]]


# ---- floats --------------------------------------------------------------------------------------------------


def _quantize(state: CpuLowering, node: Node) -> None:
    """Bring floats to bytes."""
    found, dtype = tensor_scale(state.graph, node), state.graph.dtype(node.output)
    assert found is not None
    low, offset = (qops.INT8_MIN, OFFSET) if dtype == "int8" else (0, 0)
    placed = state.places[node.inputs[0]]
    target = state.new_plain(node.output)
    source = pointwise.Quantize(target.size, found.scale, found.zero, low, low + _BYTE_MAX, offset)
    state.emit(node, source, {"x": placed.storage, "y": target.storage})


def _dequantize(state: CpuLowering, node: Node) -> None:
    """Bring bytes to floats."""
    found, dtype = tensor_scale(state.graph, node), state.graph.dtype(node.inputs[0])
    assert found is not None
    placed = state.operand(node.inputs[0])
    if not placed.view.is_plain:
        view = View.plain(placed.view.shape)
        size = prod(view.shape)
        plain = Placed(state.scratch(f"{node.output}:plain", size), size, view, None, DType.U8)
        state.copy(node, placed, view, plain)
        placed = plain
    storage = state.output_storage(node.output)
    size = prod(placed.view.shape)
    state.places[node.output] = Placed(storage, size, View.plain(placed.view.shape), None, DType.F32)
    zero = found.zero + (OFFSET if dtype == "int8" else 0)
    state.emit(node, pointwise.Dequantize(size, found.scale, zero), {"x": placed.storage, "y": storage})


LOWERINGS: Mapping[str, Callable[[CpuLowering, Node], None]] = {
    "qconv2d": _convolution,
    "qmatmul": _matrix,
    "qadd": _pointwise,
    "qmaxpool": _max_pool,
    "qavgpool": _average_pool,
    "qglobalavgpool": _global_average,
    "qrequantize": _pointwise,
    "qclamp": _pointwise,
    "qtable": _pointwise,
    "qsoftmax": rows.lower_rows,
    "qnormalize": rows.lower_rows,
    "qbatchmatmul": lower_batch_product,
    "qmul": rows.lower_product,
    "qgather": _gather_places,
    "qpad": _pad,
    **MOVEMENT,
    "to_int8": _same_bytes,
    "to_uint8": _same_bytes,
    QUANTIZE: _quantize,
    DEQUANTIZE: _dequantize,
}


def has_kernel(graph: Graph, node: Node) -> bool:
    """Whether a node has a kernel; the host computes the others."""
    if node.op in (QUANTIZE, DEQUANTIZE):
        return _is_plain_quantization(graph, node)
    if node.op in ("to_int8", "to_uint8"):
        return True
    return can_lower(graph, node, LOWERINGS)


def _is_plain_quantization(graph: Graph, node: Node) -> bool:
    """Whether a node changes between floats and bytes of one scale."""
    wide, narrow = (node.inputs[0], node.output) if node.op == QUANTIZE else (node.output, node.inputs[0])
    if graph.dtype(wide) != "float32" or graph.dtype(narrow) not in ("int8", "uint8"):
        return False
    if graph.values[wide].shape is None or node.inputs[0] in graph.constants or not prod(graph.shape(wide)):
        return False
    return tensor_scale(graph, node) is not None and node.get("saturate", 1) != 0
