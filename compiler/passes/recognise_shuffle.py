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
_UNARY = ("qrequantize", "qclamp", "qtable")


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
            if node.op != "reshape" or graph.dtype(node.output) != "int8":
                continue
            chain = _chain(graph, node)
            indices = _order(graph, chain) if chain is not None else None
            if chain is not None and indices is not None:
                _rewrite(editor, chain, indices)
        return editor.finish()


@dataclass(frozen=True)
class _Chain:
    """A reshape, a transpose, perhaps an operator that works element by element, and a reshape back."""

    first: Node
    transpose: Node
    between: Node | None
    last: Node


def _chain(graph: Graph, last: Node) -> _Chain | None:
    node = graph.producer(last.inputs[0])
    between = node if node is not None and node.op in _UNARY else None
    transpose = graph.producer(between.inputs[0]) if between is not None else node
    first = graph.producer(transpose.inputs[0]) if transpose is not None and transpose.op == "transpose" else None
    if transpose is None or first is None or first.op != "reshape":
        return None
    return _Chain(first, transpose, between, last)


def _rewrite(editor: GraphEditor, chain: _Chain, indices: tuple[int, ...]) -> None:
    origin = tuple(dict.fromkeys((*chain.first.origin, *chain.transpose.origin, *chain.last.origin)))
    y = gathered(editor, chain.first.inputs[0], 1, indices, origin)
    if chain.between is not None:
        output = (f"{chain.last.output}/unary", "int8", editor.graph.shape(chain.last.output))
        inputs = (y, *chain.between.inputs[1:])
        y = editor.emit(chain.between.op, inputs, output, chain.between.attributes, chain.between.origin)
    editor.remove(chain.last)
    editor.redirect(chain.last.output, y)


def _order(graph: Graph, chain: _Chain) -> tuple[int, ...] | None:
    """The order of the channels; None where anything else changes places."""
    shape, parted = graph.shape(chain.first.inputs[0]), graph.shape(chain.first.output)
    if shape != graph.shape(chain.last.output) or len(shape) < 3 or shape[1] > _MOST_CHANNELS:
        return None
    groups = _channel_dimensions(parted, shape)
    perm = tuple(chain.transpose["perm"])
    if groups is None or perm[: groups[0]] != tuple(range(groups[0])) or perm[groups[-1] + 1 :] != tuple(
        range(groups[-1] + 1, len(perm))
    ):  # fmt: skip
        return None
    order = np.arange(shape[1]).reshape([parted[axis] for axis in groups])
    turned = order.transpose([axis - groups[0] for axis in perm[groups[0] : groups[-1] + 1]])
    return tuple(int(index) for index in turned.reshape(-1))


def _channel_dimensions(parted: tuple[int, ...], shape: tuple[int, ...]) -> list[int] | None:
    """The consecutive dimensions that the channels were split into, behind those of the images; None for none."""
    for start in range(1, len(parted)):
        if prod(parted[:start]) != shape[0]:
            continue
        for end in range(start + 1, len(parted) + 1):
            if prod(parted[start:end]) == shape[1] and prod(parted[end:]) == prod(shape[2:]):
                return list(range(start, end))
    return None
