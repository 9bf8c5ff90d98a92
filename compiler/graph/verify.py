"""What every valid graph obeys; run after each pass."""

from __future__ import annotations

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node


class GraphError(Exception):
    """A pass has left an invalid graph behind: a bug in the compiler, not in the model."""


def verify(graph: Graph) -> None:
    """Raise GraphError, naming the value or node, when `graph` is not valid."""
    defined = {*graph.inputs, *graph.constants}
    _require(len(defined) == len(graph.inputs) + len(graph.constants), "an input is also a constant")
    for name, array in graph.constants.items():
        value = graph.values.get(name)
        _require(value is not None, f"constant {name} has no type")
        is_same = value is not None and (value.shape, value.dtype) == (array.shape, array.dtype.name)
        _require(is_same, f"constant {name} is {array.dtype}{array.shape}, its type says {value}")
    for node in graph.nodes:
        _verify_node(graph, node, defined)
        defined.update(node.outputs)
    for name in (*graph.inputs, *graph.outputs):
        _require(name in defined and name in graph.values, f"input or output {name} is not defined")


def _verify_node(graph: Graph, node: Node, defined: set[str]) -> None:
    where = f"{node.op} -> {node.output}"
    for name in node.inputs:
        _require(not name or name in defined, f"{where} reads {name} before it is defined")
    for name in filter(None, node.outputs):
        _require(name not in defined, f"{where} defines {name} again")
        _require(name in graph.values, f"{where}: {name} has no type")
    if not node.is_onnx:
        for problem in qops.problems(graph, node):
            _require(False, f"{where}: {problem}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)
