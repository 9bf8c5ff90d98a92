"""Turns reshapes around a transpose that only exchange channels into a gather of channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.spread import gathered

#: Larger tensors are not looked at place by place.
_MOST_CHANNELS = 1 << 14


@dataclass(frozen=True)
class RecogniseShuffle:
    """Replace reshape, transpose and reshape of an int8 image, where only its channels change places.

    Before: `%a = reshape(%x: int8[1,8,4,4]) {shape=[1, 2, 4, 4, 4]}`, `%b = transpose(%a) {perm=[0, 2, 1, 3, 4]}`,
    `%y = reshape(%b) {shape=[1, 8, 4, 4]}`. After: `%y = qgather(%x) {axis=1, indices=[0, 4, 1, 5, 2, 6, 3, 7]}`.
    """

    name: str = "recognise-shuffle"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every shuffle of channels as qgather."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            found = _shuffle(graph, node) if node.op == "reshape" and graph.dtype(node.output) == "int8" else None
            if found is not None:
                source, indices, origin = found
                editor.remove(node)
                editor.redirect(node.output, gathered(editor, source, 1, indices, origin))
        return editor.finish()


def _shuffle(graph: Graph, last: Node) -> tuple[str, tuple[int, ...], tuple[str, ...]] | None:
    """The source, the order of its channels, and the nodes."""
    transpose = graph.producer(last.inputs[0])
    first = graph.producer(transpose.inputs[0]) if transpose is not None and transpose.op == "transpose" else None
    if transpose is None or first is None or first.op != "reshape":
        return None
    shape, parted = graph.shape(first.inputs[0]), graph.shape(first.output)
    if shape != graph.shape(last.output) or len(shape) < 3 or shape[1] > _MOST_CHANNELS:
        return None
    plane = prod(shape[2:])
    groups = _channel_dimensions(parted, shape)
    if groups is None:
        return None
    perm = tuple(transpose["perm"])
    moved = [axis for axis in perm if axis in groups]
    rest = [axis for axis in perm if axis not in groups and parted[axis] != 1]
    if not plane or rest != sorted(rest) or perm.index(moved[0]) + len(moved) - 1 != perm.index(moved[-1]):
        return None
    if [axis for axis in perm if parted[axis] != 1 and axis < groups[0]] != [
        axis for axis in perm[: perm.index(moved[0])] if parted[axis] != 1
    ]:
        return None
    order = np.arange(shape[1]).reshape([parted[axis] for axis in groups])
    turned = order.transpose([groups.index(axis) for axis in moved])
    origin = tuple(dict.fromkeys((*first.origin, *transpose.origin, *last.origin)))
    return first.inputs[0], tuple(int(index) for index in turned.reshape(-1)), origin


def _channel_dimensions(parted: tuple[int, ...], shape: tuple[int, ...]) -> list[int] | None:
    """The consecutive dimensions that the channels were split into, behind those of the images; None for none."""
    for start in range(1, len(parted)):
        if prod(parted[:start]) != shape[0]:
            continue
        for end in range(start + 1, len(parted) + 1):
            if prod(parted[start:end]) == shape[1] and prod(parted[end:]) == prod(shape[2:]):
                return list(range(start, end))
    return None
