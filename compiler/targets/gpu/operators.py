"""How each integer operator becomes launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.partition import is_integer_node
from tilewright.compiler.targets.gpu import pointwise, rows, windows
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.gemm import Gemm
from tilewright.compiler.targets.gpu.integer_lowering import IntegerLowering
from tilewright.compiler.targets.gpu.lowering import Need, Placed
from tilewright.compiler.targets.kernels.layout import ALIGNMENT, Image, View, is_same_memory
from tilewright.compiler.targets.kernels.memory_plan import Storage
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
    region = int(_regions(state.graph, node).reshape(-1)[0])
    multiplier, shift = (state.array(node, name)[region : region + 1] for name in ("multiplier", "shift"))
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


def _operand(placed: Placed) -> rows.Operand:
    return rows.Operand(placed.view, placed.size)


def _new_rows(state: IntegerLowering, name: str) -> rows.Operand:
    """Give a result memory in which its last dimension lies side by side."""
    shape = state.graph.shape(name)
    if len(shape) != 4:
        state.new_image(name)
        return _operand(state.places[name])
    pitch = -(-shape[-1] // ALIGNMENT) * ALIGNMENT
    strides = (*(prod(shape[axis + 1 : -1]) * pitch for axis in range(3)), 1)
    size = prod(shape[:-1]) * pitch
    state.storages[f"t:{name}"] = Storage(f"t:{name}", size)
    state.places[name] = Placed(f"t:{name}", size, View(shape, strides))
    return _operand(state.places[name])


def _view_residual(state: IntegerLowering, node: Node) -> tuple[dict[str, str], rows.Operand | None]:
    name = qops.operand(node, "residual")
    if not name:
        return {}, None
    return {"residual": state.places[name].storage}, _operand(state.places[name])


def _row_operator(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    arguments, residual = _view_residual(state, node)
    y = _new_rows(state, node.output)
    scaling = state.scaling(node)
    channels = scaling.bias.size
    operator = rows.RowOperator(_operand(placed), y, state.finish(node, scaling), channels, residual)
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
    target = _new_rows(state, node.output)
    scaling = state.scaling(node)
    zeros = node["zero_in"], node["zero_y"]
    finish = state.finish(node, scaling)
    kernel = rows.batch_product(
        state.kernel_name("batchmatmul"), _operand(x), _operand(b), zeros, finish, target, residual
    )
    arguments |= {"x": x.storage, "y": b.storage, "y_out": state.places[node.output].storage}
    macs = prod(target.view.shape) * x.view.shape[-1]
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1), macs)


def _product(state: IntegerLowering, node: Node) -> None:
    x, b = state.places[node.inputs[0]], state.places[node.inputs[1]]
    target = _new_rows(state, node.output)
    scaling = state.scaling(node)
    zeros = node["zero_a"], node["zero_b"]
    kernel = rows.product(
        state.kernel_name("product"), _operand(x), _operand(b), zeros, state.finish(node, scaling), target
    )
    arguments = {"x": x.storage, "b": b.storage, "y": state.places[node.output].storage}
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1))


def _gather_places(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    target = _new_rows(state, node.output)
    axis = node["axis"] % len(target.view.shape)
    extent = placed.view.shape[axis]
    indices = tuple(int(i) % extent for i in node["indices"])
    kernel = rows.gather_places(state.kernel_name("gather"), _operand(placed), axis, indices, target)
    state.emit(node, kernel, {"x": placed.storage, "y": state.places[node.output].storage})


def _interleave(state: IntegerLowering, node: Node) -> None:
    y = state.new_image(node.output)
    target = state.places[node.output]
    high, wide = node["factors"]
    n, c, h, w = y.view.strides
    for number, name in enumerate(node.inputs):
        placed = state.places[name]
        start = y.view.offset + number // wide * h + number % wide * w
        part = View(placed.view.shape, (n, c, h * high, w * wide), start)
        kernel = pointwise.move(state.kernel_name("interleave"), placed.view, placed.size, part, y.size)
        state.emit(node, kernel, {"x": placed.storage, "y": target.storage})


def _split_heads(state: IntegerLowering, node: Node) -> None:
    placed, heads = state.places[node.inputs[0]], node["heads"]
    *outer, count, channels = placed.view.shape
    *steps, row, step = placed.view.strides
    depth = channels // heads
    view = View((*outer, heads, count, depth), (*steps, depth * step, row, step), placed.view.offset)
    state.places[node.output] = Placed(placed.storage, placed.size, view)


def _merge_heads(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    *outer, heads, count, depth = placed.view.shape
    axes = tuple(range(len(outer)))
    source = placed.view.transposed((*axes, len(outer) + 1, len(outer), len(outer) + 2))
    y = _new_rows(state, node.output)
    *steps, row, step = y.view.strides
    part = View((*outer, count, heads, depth), (*steps, row, depth * step, step), y.view.offset)
    kernel = pointwise.move(state.kernel_name("merge"), source, placed.size, part, y.size)
    state.emit(node, kernel, {"x": placed.storage, "y": state.places[node.output].storage})


def _pad(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    y = state.new_image(node.output)
    target = state.places[node.output]
    begins = tuple(node["pads"])[: len(placed.view.shape)]
    kernel = pointwise.pad(state.kernel_name("pad"), placed.view, placed.size, begins, node["value"], y.view, y.size)
    state.emit(node, kernel, {"x": placed.storage, "y": target.storage})


def _concat(state: IntegerLowering, node: Node) -> None:
    y = state.new_image(node.output)
    target = state.places[node.output]
    axis = node["axis"] % len(y.view.shape)
    start = 0
    for name in node.inputs:
        placed = state.places[name]
        shape = placed.view.shape
        part = View(shape, y.view.strides, y.view.offset + start * y.view.strides[axis])
        kernel = pointwise.move(state.kernel_name("concat"), placed.view, placed.size, part, y.size)
        state.emit(node, kernel, {"x": placed.storage, "y": target.storage})
        start += shape[axis]


def _reshape(state: IntegerLowering, node: Node) -> None:
    placed, shape = state.places[node.inputs[0]], tuple(node["shape"])
    image = Image.of(shape)
    if placed.image is not None and is_same_memory(placed.image, image):
        state.places[node.output] = Placed(placed.storage, placed.size, image.view, image)
        return
    if placed.view.is_plain:
        state.places[node.output] = Placed(placed.storage, placed.size, View.plain(shape))
        return
    state.move(node, placed, View.plain(shape), prod(shape))


def _transpose(state: IntegerLowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    view = placed.view.transposed(tuple(node["perm"]))
    state.places[node.output] = Placed(placed.storage, placed.size, view)


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
    "qinterleave": _interleave,
    "split_heads": _split_heads,
    "merge_heads": _merge_heads,
    "qpad": _pad,
    "qconcat": _concat,
    "reshape": _reshape,
    "transpose": _transpose,
}


def has_kernel(graph: Graph, node: Node) -> bool:
    """Whether a node can run on the GPU; the host computes the others."""
    if not is_integer_node(graph, node) or node.op not in LOWERINGS:
        return False
    shape = graph.shape(node.inputs[0])
    if node.op == "qmatmul":
        return len(shape) != 4
    if node.op == "qavgpool":
        return len(set(_regions(graph, node).reshape(-1).tolist())) == 1
    return True


def _regions(graph: Graph, node: Node) -> NDArray[np.int64]:
    """Give which of an average's multipliers holds for each window."""
    height, width = graph.shape(node.inputs[0])[2:]
    counts = qops.window_counts(qops.window(graph, node), height, width, node["counted_pads"])
    return np.searchsorted(np.array(node["counts"]), counts)
