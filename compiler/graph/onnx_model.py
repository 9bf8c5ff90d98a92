"""Writes a graph of ONNX operators as an ONNX model."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.onnx_nodes import to_proto, type_proto


def to_model(graph: Graph) -> ModelProto:
    """Write a graph that holds no operators but ONNX's.

    Nodes keep their names where those are single and unique.
    """
    nodes = [to_proto(node) for node in graph.nodes]
    taken: set[str] = set()
    for node, proto in zip(graph.nodes, nodes, strict=True):
        name = node.origin[-1] if node.origin else ""
        proto.name = name if name and name not in taken else f"{name or proto.op_type}/{node.output}"
        taken.add(proto.name)
    proto = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_value_info(name, type_proto(graph.values[name])) for name in graph.inputs],
        [helper.make_value_info(name, type_proto(graph.values[name])) for name in graph.outputs],
        [numpy_helper.from_array(np.array(array), name) for name, array in graph.constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
    return helper.make_model(proto, opset_imports=opsets, ir_version=_ir_version(graph))


def _ir_version(graph: Graph) -> int:
    """The oldest that holds the operators, so that other programs read the model; 8 is what they all read."""
    known = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items() if domain == ""]
    return max(8, helper.find_min_ir_version_for(known, ignore_unknown=True))
