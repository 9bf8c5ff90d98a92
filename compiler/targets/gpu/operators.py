"""How each integer operator becomes launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu import pointwise, rows, windows
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.gemm import Gemm
from tilewright.compiler.targets.gpu.integer_lowering import IntegerLowering
from tilewright.compiler.targets.kernels.integer_operands import can_lower, region
from tilewright.compiler.targets.kernels.layout import Image, Placed
from tilewright.compiler.targets.kernels.lowering import Need
from tilewright.compiler.targets.kernels.movement import MOVEMENT
from tilewright.compiler.targets.kernels.scaling import Scaling


def _convolution(state: IntegerLowering, node: Node) -> None:
    graph = state.graph
    weight = np.asarray(graph.constants[qops.operand(node, "weight")])
    window = qops.window(graph, node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node)
    finish = state.finish(node, scaling)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    pads = (window.pads[0], window.pads[1])
    if node["groups"] == 1:
        gemm = Gemm(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
        state.gemm(node, gemm, weight, scaling, arguments)
        return
    macs = qops.mac_count(graph, node)
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
    arguments |= state.parameters(node, scaling, y.pitch)
    if weight.shape[1] == 1 and weight.shape[0] == x.channels and max(window.kernel) <= 7:
        sliding = replace(sliding, across=windows.across_of(y))
        arguments["w"] = state.constant(f"{node.output}:w", sliding.pack(weight))
        state.emit(node, sliding.depthwise(state.kernel_name("depthwise")), arguments, macs, weight.size)
        return
    arguments["w"] = state.constant(f"{node.output}:w", weight.transpose(0, 2, 3, 1).reshape(-1))
    kernel = windows.plain_convolution(state.kernel_name("grouped"), sliding, weight.shape[1], node["groups"])
    state.emit(node, kernel, arguments, macs, weight.size)


def _matrix(state: IntegerLowering, node: Node) -> None:
    weight = np.asarray(state.graph.constants[qops.operand(node, "weight")])
    shape = state.graph.shape(node.inputs[0])
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    x, flat_y = _as_matrix(x, prod(shape[:-1])), _as_matrix(y, prod(shape[:-1]))
    scaling = state.scaling(node)
    gemm = Gemm(
        x, flat_y, (1, 1), (1, 1), (1, 1), (0, 0), state.finish(node, scaling),
        None if residual is None else _as_matrix(residual, prod(shape[:-1])),
    )  # fmt: skip
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    state.gemm(node, gemm, weight.T[:, :, None, None], scaling, arguments)


def _as_matrix(image: Image, rows: int) -> Image:
    """Read an image whose channels are the last dimension as rows."""
    assert image.pixels == rows
    return image


def _window_operator(state: IntegerLowering, node: Node) -> None:
    window = qops.window(state.graph, node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    pads = (window.pads[0], window.pads[1])
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    if node.op == "qmaxpool":
        finish = state.finish(node, None)
        sliding = windows.Sliding(
            x, y, window.kernel, window.strides, window.dilations, pads, finish, across=windows.across_of(y)
        )
        state.emit(node, sliding.maxima(state.kernel_name("maxpool")), arguments)
        return
    number = region(state.graph, node)
    multiplier, shift = (state.array(node, name)[number : number + 1] for name in ("multiplier", "shift"))
    scaling = Scaling.of(state.array(node, "bias"), multiplier, shift)
    finish = state.finish(node, scaling)
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
    arguments |= state.parameters(node, scaling, y.pitch)
    state.emit(node, sliding.sums(state.kernel_name("avgpool")), arguments)


def _global_average(state: IntegerLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    kernel = windows.global_average(state.kernel_name("average"), x, y, state.finish(node, scaling), residual)
    state.emit(node, kernel, arguments)


def _pointwise(state: IntegerLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node) if node.op == "qrequantize" else None
    finish = state.finish(node, scaling)
    if node.op == "qclamp":
        finish = Finish(qops.Epilogue(clamp_low=node["low"], clamp_high=node["high"]), has_scaling=False)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    kernel = pointwise.Pointwise(x, y, finish, residual).kernel(state.kernel_name(node.op))
    state.emit(node, kernel, arguments)


def _view_residual(state: IntegerLowering, node: Node) -> tuple[dict[str, str], Placed | None]:
    name = qops.operand(node, "residual")
    if not name:
        return {}, None
    return {"residual": state.places[name].storage}, state.places[name]


def _row_operator(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    arguments, residual = _view_residual(state, node)
    y = state.new_rows(node.output)
    scaling = state.scaling(node)
    channels = scaling.bias.size
    operator = rows.RowOperator(placed, y, state.finish(node, scaling), channels, residual)
    arguments |= {"x": placed.storage, "y": state.places[node.output].storage}
    arguments |= state.parameters(node, scaling, channels)
    if node.op == "qsoftmax":
        state.emit(node, operator.softmax(state.kernel_name("softmax"), node["scale"]), arguments)
        return
    negate = np.broadcast_to(state.array(node, "negate").astype(np.int32), (placed.view.shape[-1],))
    arguments["negate"] = state.constant(f"{node.output}:negate", negate)
    mean = node["mean_scale"], node["mean_shift"]
    kernel = operator.normalization(state.kernel_name("normalize"), mean, node["count_log"], node["epsilon"])
    state.emit(node, kernel, arguments)


def _batch_product(state: IntegerLowering, node: Node) -> None:
    x, b = state.places[node.inputs[0]], state.places[node.inputs[1]]
    arguments, residual = _view_residual(state, node)
    target = state.new_rows(node.output)
    scaling = state.scaling(node)
    zeros = node["zero_in"], node["zero_y"]
    finish = state.finish(node, scaling)
    kernel = rows.batch_product(state.kernel_name("batchmatmul"), x, b, zeros, finish, target, residual)
    arguments |= {"x": x.storage, "y": b.storage, "y_out": state.places[node.output].storage}
    macs = prod(target.view.shape) * x.view.shape[-1]
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1), macs)


def _product(state: IntegerLowering, node: Node) -> None:
    x, b = state.places[node.inputs[0]], state.places[node.inputs[1]]
    target = state.new_rows(node.output)
    scaling = state.scaling(node)
    zeros = node["zero_a"], node["zero_b"]
    kernel = rows.product(state.kernel_name("product"), x, b, zeros, state.finish(node, scaling), target)
    arguments = {"x": x.storage, "b": b.storage, "y": state.places[node.output].storage}
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1))


def _gather_places(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    target = state.new_rows(node.output)
    axis = node["axis"] % len(target.view.shape)
    extent = placed.view.shape[axis]
    indices = tuple(int(i) % extent for i in node["indices"])
    kernel = rows.gather_places(state.kernel_name("gather"), placed, axis, indices, target)
    state.emit(node, kernel, {"x": placed.storage, "y": state.places[node.output].storage})


def _pad(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    state.new_image(node.output)
    target = state.places[node.output]
    begins = tuple(node["pads"])[: len(placed.view.shape)]
    kernel = pointwise.pad(state.kernel_name("pad"), placed, begins, node["value"], target)
    state.emit(node, kernel, {"x": placed.storage, "y": target.storage})


LOWERINGS: Mapping[str, Callable[[IntegerLowering, Node], None]] = {
    "qconv2d": _convolution,
    "qmatmul": _matrix,
    "qadd": _pointwise,
    "qmaxpool": _window_operator,
    "qavgpool": _window_operator,
    "qglobalavgpool": _global_average,
    "qrequantize": _pointwise,
    "qclamp": _pointwise,
    "qtable": _pointwise,
    "qsoftmax": _row_operator,
    "qnormalize": _row_operator,
    "qbatchmatmul": _batch_product,
    "qmul": _product,
    "qgather": _gather_places,
    "qpad": _pad,
    **MOVEMENT,
}


def has_kernel(graph: Graph, node: Node) -> bool:
    """Whether a node can run on the GPU; the host computes the others."""
    return can_lower(graph, node, LOWERINGS)
