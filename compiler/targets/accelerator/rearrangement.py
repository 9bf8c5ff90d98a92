"""Transposes and reshapes that keep the channels in the rows: copies of rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.accelerator.layout import TensorLayout
from tilewright.compiler.targets.accelerator.row_copies import Axis, Loop, RowCopy, axes, channel_axis
from tilewright.isa.config import Config


def rearranged_form(graph: Graph, node: Node, is_matrix: bool, config: Config) -> bool | None:
    """Return whether the result of a `transpose` or `reshape` is a matrix; None where copies of rows do not give it."""
    shape, result = graph.shape(node.inputs[0]), graph.shape(node.output)
    if config.gemm.batch > 1 or min(len(shape), len(result)) < 2 or not all(shape):
        return None
    if not is_matrix and len(shape) < 3:
        return None
    if node.op == "transpose":
        channels = tuple(node["perm"]).index(len(shape) - 1 if is_matrix else 1)
        if channels == len(shape) - 1:
            return True
        is_image = channels == 1 and (len(shape) > 3 or (len(shape) == 3 and wants_image(graph, node.output)))
        return False if is_image else None
    if node.op != "reshape":
        return None
    if not is_matrix and prod(shape[2:]) == 1 and result[-1] == shape[1]:
        return True
    is_image = is_matrix and len(result) > 2 and prod(result[2:]) == 1 and result[1] == shape[-1]
    return False if is_image and result[0] * result[1] == prod(result) else None


def wants_image(graph: Graph, name: str) -> bool:
    """Tell whether a value `[N,C,L]` is read as an image; matrix products want a matrix."""
    users = graph.consumers[name]
    return any(user.op == "reshape" and len(graph.shape(user.output)) > 3 for user in users)


def is_rearrangement(node: Node, source: TensorLayout, target: TensorLayout) -> bool:
    """Tell whether a node with these layouts is a copy of rows."""
    if node.op == "reshape":
        return True
    return node.op == "transpose" and node["perm"][channel_axis(target)] == channel_axis(source)


def rearranging_copy(node: Node, source: TensorLayout, target: TensorLayout, config: Config) -> RowCopy:
    """Return the copy that is a `transpose` or `reshape`."""
    before, after = axes(source, config), axes(target, config)
    if node.op == "transpose":
        before = [before[axis] for axis in node["perm"]]
        return RowCopy(0, 0, tuple(Loop(a.extent, a.stride, b.stride) for a, b in zip(before, after, strict=True)))
    rows, places = _positions(before, source), _positions(after, target)
    blocks = (before[channel_axis(source)], after[channel_axis(target)])
    return RowCopy(
        0, 0, (Loop(prod(a.extent for a in rows), _step(rows), _step(places)),
               Loop(blocks[0].extent, blocks[0].stride, blocks[1].stride)),
    )  # fmt: skip


def _positions(dimensions: Sequence[Axis], layout: TensorLayout) -> list[Axis]:
    """The dimensions but that of the channels and those of one place; they lie evenly spaced."""
    channels = channel_axis(layout)
    return [axis for index, axis in enumerate(dimensions) if index != channels and axis.extent > 1]


def _step(positions: Sequence[Axis]) -> int:
    return min((axis.stride for axis in positions), default=1)
