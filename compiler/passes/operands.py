"""Operands that ONNX gives as constant inputs, and in older opsets as attributes."""

from __future__ import annotations

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
