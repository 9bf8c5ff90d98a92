"""Which nodes of a graph run on the host, and why: the report's text."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE

_DEVICE_MOVEMENT = ("reshape", "transpose", "split_heads", "merge_heads")


@dataclass(frozen=True)
class HostNode:
    """A node that runs on the host.

    Parameters
    ----------
    node
        The node.
    reason
        Why it has no integer form.
    """

    node: Node
    reason: str


def host_nodes(graph: Graph) -> tuple[HostNode, ...]:
    """Every node that no target can compute in integers, in the order of the graph."""
    return tuple(HostNode(node, why_host(graph, node)) for node in graph.nodes if not is_integer_node(graph, node))


def is_integer_node(graph: Graph, node: Node) -> bool:
    """Whether a node is an integer operator, or moves int8 values."""
    if node.op in _DEVICE_MOVEMENT:
        return graph.dtype(node.output) == "int8"
    return qops.is_device_operator(node)


def why_host(graph: Graph, node: Node) -> str:
    """Why a node runs on the host; an empty text for integer operators."""
    if is_integer_node(graph, node):
        return ""
    if node.reason:
        return node.reason
    if node.op in ("to_int8", "to_uint8"):
        return "converts the model's unsigned input or output"
    if node.op == QUANTIZE:
        source = graph.producer(node.inputs[0])
        return "quantizes an input" if source is None else f"quantizes the result of {_op_type(source)}"
    if node.op == DEQUANTIZE:
        users = graph.consumers[node.output]
        return f"dequantizes for {_op_type(users[0])}" if users else "dequantizes an output"
    if node.op in _DEVICE_MOVEMENT:
        return f"moves {graph.dtype(node.output)}, not int8"
    return f"no integer form of {_op_type(node)}"


def _op_type(node: Node) -> str:
    return node.op.rpartition(".")[2]
