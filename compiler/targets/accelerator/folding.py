"""Folds the kernel of a network's first convolution into the channels of its input, as the host writes that.

A convolution of few input channels would leave most of a row of lanes empty. The host, which packs the input anyway,
can put the values under a kernel row (or the whole kernel) side by side instead: `[N, KW*C, H, OW]` for a convolution
that then has a kernel of KH x 1, or `[N, KH*KW*C, OH, OW]` for one of 1 x 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import Window, operand, window
from tilewright.compiler.targets.accelerator.layout import Array, Fold, TensorLayout, ceil_div, image_layout
from tilewright.compiler.targets.accelerator.problem import Problem
from tilewright.compiler.targets.accelerator.tiling import choose_tiling
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError


def choose_fold(graph: Graph, node: Node, config: Config) -> Fold | None:
    """Return the fold of a convolution's input with which it takes the fewest cycles, if any helps.

    The cost of a fold is the estimate of its tiling, which includes the larger input's way over the bus.
    """
    if node.op != "qconv2d" or node["groups"] != 1 or len(graph.shape(node.inputs[0])) != 4:
        return None
    best, fewest = None, _cycles(graph, node, None, config)
    for fold in _folds(graph, node):
        cycles = _cycles(graph, node, fold, config)
        if cycles is not None and (fewest is None or cycles < fewest):
            best, fewest = fold, cycles
    return best


def _folds(graph: Graph, node: Node) -> Iterator[Fold]:
    """Yield the folds of the kernel's rows, columns, and both."""
    w = window(graph, node)
    rows, columns = w.output_extents(*graph.shape(node.inputs[0])[2:])
    height = graph.shape(node.inputs[0])[2]
    extents = (height, columns)
    line = Fold((1, w.kernel[1]), (1, w.strides[1]), (1, w.dilations[1]), (0, w.pads[1]), extents, _zero(node))
    whole = Fold(w.kernel, w.strides, w.dilations, w.pads[:2], (rows, columns), _zero(node))
    if w.kernel[1] > 1:
        yield line
    if w.kernel[0] > 1:
        yield whole


def _zero(node: Node) -> int:
    zero: int = node["zero_in"]
    return zero


def _cycles(graph: Graph, node: Node, fold: Fold | None, config: Config) -> int | None:
    source, result = graph.shape(node.inputs[0]), graph.shape(node.output)
    layout = folded_layout(source, fold, config) if fold else image_layout(source, config)
    target = image_layout(result, config)
    w = folded_window(window(graph, node), layout)
    residual = operand(node, "residual")
    problem = Problem(
        target.groups, layout.height, layout.width, target.height, target.width, layout.blocks, 0, target.blocks,
        ceil_div(result[1], config.gemm.block_out), w.kernel, w.strides, w.dilations, w.pads[:2], bool(residual),
    ).flattened()  # fmt: skip
    try:
        return choose_tiling(problem, config).cost.cycles
    except CapacityError:
        return None


def folded_layout(shape: tuple[int, ...], fold: Fold, config: Config) -> TensorLayout:
    """Return the layout of an image tensor `[N,C,H,W]` that is folded."""
    channels = shape[1] * fold.kernel[0] * fold.kernel[1]
    return replace(image_layout((shape[0], channels, *fold.extents), config), fold=fold)


def folded_window(w: Window, layout: TensorLayout) -> Window:
    """Return what is left of a convolution's window when its input lies so."""
    fold = layout.fold
    if fold is None:
        return w
    rows = (w.kernel[0], w.strides[0], w.dilations[0], (w.pads[0], w.pads[2]))
    kernel, stride, dilation, pads = rows if fold.kernel[0] == 1 else (1, 1, 1, (0, 0))
    return Window((kernel, 1), (stride, 1), (pads[0], 0, pads[1], 0), (dilation, 1))


def fold_weights(weight: Array, fold: Fold) -> Array:
    """Return the weights `[O,C,KH,KW]` of a convolution for its folded input."""
    outputs, depth, kh, kw = weight.shape
    if fold.kernel[0] == 1:
        return weight.transpose(0, 3, 1, 2).reshape(outputs, kw * depth, kh, 1)
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(outputs, kh * kw * depth, 1, 1)


__all__ = ["choose_fold", "fold_weights", "folded_layout", "folded_window"]
