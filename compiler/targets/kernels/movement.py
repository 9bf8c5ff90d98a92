"""Operators that only move elements: other views of the same memory, and copies where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.kernels.layout import Image, Placed, View, is_same_memory
from tilewright.compiler.targets.kernels.lowering import Lowering


def reshape(state: Lowering[Any], node: Node) -> None:
    """Read a value in another shape; where its elements lie in another order, copy them."""
    placed, shape = state.places[node.inputs[0]], tuple(node["shape"])
    image = Image.of(shape, dtype=placed.dtype)
    if placed.image is not None and is_same_memory(placed.image, image):
        state.places[node.output] = Placed(placed.storage, placed.size, image.view, image, placed.dtype)
        return
    if placed.view.is_plain:
        state.places[node.output] = replace(placed, view=View.plain(shape), image=None)
        return
    placed = state.operand(node.inputs[0])
    target = state.new_plain(node.output)
    state.copy(node, placed, target.view, target, node.op)


def transpose(state: Lowering[Any], node: Node) -> None:
    """Read a value with its dimensions exchanged."""
    placed = state.places[node.inputs[0]]
    view = placed.view.transposed(tuple(node["perm"]))
    state.places[node.output] = replace(placed, view=view, image=None)


def cast(state: Lowering[Any], node: Node) -> None:
    """Take a value between types of float as it lies: the target has chosen what floats are in memory."""
    state.places[node.output] = state.places[node.inputs[0]]


def split_heads(state: Lowering[Any], node: Node) -> None:
    """Read rows head by head."""
    placed, heads = state.operand(node.inputs[0]), node["heads"]
    *outer, count, channels = placed.view.shape
    *steps, row, step = placed.view.strides
    depth = channels // heads
    view = View((*outer, heads, count, depth), (*steps, depth * step, row, step), placed.view.offset)
    state.places[node.output] = replace(placed, view=view, image=None)


def merge_heads(state: Lowering[Any], node: Node) -> None:
    """Copy heads side by side."""
    placed = state.operand(node.inputs[0])
    *outer, heads, count, depth = placed.view.shape
    axes = tuple(range(len(outer)))
    source = placed.view.transposed((*axes, len(outer) + 1, len(outer), len(outer) + 2))
    target = state.new_rows(node.output)
    *steps, row, step = target.view.strides
    part = View((*outer, count, heads, depth), (*steps, row, depth * step, step), target.view.offset)
    state.copy(node, replace(placed, view=source), part, target, "merge")


def interleave(state: Lowering[Any], node: Node) -> None:
    """Copy images between each other's rows and columns."""
    state.new_image(node.output)
    target = state.places[node.output]
    high, wide = node["factors"]
    n, c, h, w = target.view.strides
    for number, name in enumerate(node.inputs):
        placed = state.operand(name)
        start = target.view.offset + number // wide * h + number % wide * w
        part = View(placed.view.shape, (n, c, h * high, w * wide), start)
        state.copy(node, placed, part, target, "interleave")


def concat(state: Lowering[Any], node: Node) -> None:
    """Copy values one behind the other."""
    state.new_image(node.output)
    target = state.places[node.output]
    axis = node["axis"] % len(target.view.shape)
    start = target.view.offset
    for name in node.inputs:
        placed = state.operand(name)
        state.copy(node, placed, View(placed.view.shape, target.view.strides, start), target, "concat")
        start += placed.view.shape[axis] * target.view.strides[axis]


#: By operator.
MOVEMENT: Mapping[str, Callable[[Lowering[Any], Node], None]] = {
    "qinterleave": interleave,
    "split_heads": split_heads,
    "merge_heads": merge_heads,
    "qconcat": concat,
    "reshape": reshape,
    "transpose": transpose,
}

#: Of models in floating point: other views where they can be.
FLOAT_VIEWS: Mapping[str, Callable[[Lowering[Any], Node], None]] = {
    "fcast": cast,
    "reshape": reshape,
    "transpose": transpose,
}
