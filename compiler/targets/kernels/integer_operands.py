"""What integer operators read, on every target."""

from __future__ import annotations

from abc import ABC
from collections.abc import Container
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.partition import is_integer_node
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.lowering import LaunchT, Lowering, Need, Slid


class IntegerOperands(Lowering[LaunchT], ABC, Generic[LaunchT]):
    """The state of lowering integer operators: their constants and second operands."""

    def activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""
        if node.is_onnx:
            return [node.inputs[0]]
        operator = qops.OPERATORS[node.op]
        if operator.is_variadic:
            return list(node.inputs)
        return [name for formal, name in zip(operator.operands, node.inputs, strict=True) if not formal.is_constant]

    def sliding(self, node: Node) -> Slid | None:
        """Give the window that a node slides over its first input, or None."""
        if node.op not in ("qconv2d", "qmaxpool", "qavgpool"):
            return None
        value = qops.INT8_MIN if node.op == "qmaxpool" else node["zero_in"]
        is_dense = node.op == "qconv2d" and node["groups"] == 1
        return Slid(qops.window(self.graph, node), value, is_dense)

    def array(self, node: Node, operand: str) -> NDArray[Any]:
        """Give a constant operand."""
        return np.asarray(self.graph.constants[qops.operand(node, operand)])

    def has_table(self, node: Node) -> bool:
        """Whether results are looked up."""
        return bool(qops.has_operand(node.op, "table") and qops.operand(node, "table"))

    def residual(self, node: Node) -> tuple[dict[str, str], Image | None]:
        """Give a node's second operand as an argument."""
        name = qops.operand(node, "residual") if qops.has_operand(node.op, "residual") else ""
        if not name:
            return {}, None
        storage, image = self.image(node, name, Need())
        return {"residual": storage}, image


def can_lower(graph: Graph, node: Node, operators: Container[str]) -> bool:
    """Whether a node is one of these integer operators, in a form that there are kernels for."""
    if not is_integer_node(graph, node) or node.op not in operators:
        return False
    if node.op == "qmatmul":
        return len(graph.shape(node.inputs[0])) != 4
    if node.op == "qavgpool":
        return len(set(_regions(graph, node).reshape(-1).tolist())) == 1
    return True


def region(graph: Graph, node: Node) -> int:
    """Give which of an average's multipliers holds for all its windows."""
    return int(_regions(graph, node).reshape(-1)[0])


def _regions(graph: Graph, node: Node) -> NDArray[np.int64]:
    """Give which of an average's multipliers holds for each window."""
    height, width = graph.shape(node.inputs[0])[2:]
    counts = qops.window_counts(qops.window(graph, node), height, width, node["counted_pads"])
    return np.searchsorted(np.array(node["counts"]), counts)
