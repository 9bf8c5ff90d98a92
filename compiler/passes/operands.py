"""Operands that ONNX gives as constant inputs, and in older opsets as attributes."""

from __future__ import annotations

from collections.abc import Iterable

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import Unsuitable


def constant_integers(graph: Graph, node: Node, position: int, attribute: str) -> tuple[int, ...]:
    """Integers that the input at `position` gives, or else the attribute; none when there is neither.

    Raises
    ------
    Unsuitable
        When there is an input and it is not constant.
    """
    if len(node.inputs) > position and node.inputs[position]:
        array = graph.constant(node.inputs[position])
        if array is None:
            raise Unsuitable(f"its {attribute} are not constant")
        return tuple(int(entry) for entry in array.reshape(-1))
    return tuple(node.get(attribute, ()))


def dimensions(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Count axes from the first dimension, as they come.

    Raises
    ------
    Unsuitable
        When one is no dimension of a tensor of `rank` dimensions: ONNX's shape inference lets some of these through.
    """
    found = tuple(axes)
    for axis in found:
        if not -rank <= axis < rank:
            raise Unsuitable(f"it names dimension {axis} of {rank}")
    return tuple(axis % rank for axis in found)
