"""ONNX operators inside a graph: conversion to and from ONNX's own form, execution by onnx.reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.types import Array, FrozenMap, Value
from tilewright.isa.errors import ModelError

# The oldest versions that onnx.reference executes; older models mean the same by these operators.
_OLDEST_EXECUTED = {"onnx.QuantizeLinear": 19, "onnx.DequantizeLinear": 19}
_GRAPH_KINDS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def from_proto(node: NodeProto) -> Node:
    """Convert an ONNX node; ModelError when it holds a subgraph."""
    attributes = {}
    for attribute in node.attribute:
        if attribute.type in _GRAPH_KINDS:
            raise ModelError(f"control flow is not supported: {node.op_type} node {node.name!r}")
        attributes[attribute.name] = _plain(helper.get_attribute_value(attribute))
    origin = (node.name,) if node.name else ()
    return Node(_qualified(node), tuple(node.input), tuple(node.output), FrozenMap(attributes), origin)


def to_proto(node: Node) -> NodeProto:
    """Convert an ONNX operator back to ONNX's form."""
    domain, _, op_type = node.op.rpartition(".")
    proto = helper.make_node(op_type, list(node.inputs), list(node.outputs), domain="" if domain == "onnx" else domain)
    for name, value in node.attributes.items():
        proto.attribute.append(_attribute_proto(name, value))
    return proto


def run_onnx_node(node: Node, values: Mapping[str, Array], opsets: Mapping[str, int]) -> dict[str, Array]:
    """Execute one ONNX operator with onnx.reference.

    Raises
    ------
    ModelError
        When onnx.reference does not know the operator.
    """
    names = [name for name in dict.fromkeys(node.inputs) if name]
    graph = helper.make_graph(
        [to_proto(node)],
        "node",
        [helper.make_value_info(name, TypeProto()) for name in names],
        [helper.make_value_info(name, TypeProto()) for name in node.outputs if name],
    )
    oldest = _OLDEST_EXECUTED.get(node.op, 0)
    imports = [
        helper.make_opsetid(domain, version if domain else max(version, oldest)) for domain, version in opsets.items()
    ]
    model = helper.make_model(graph, opset_imports=imports)
    try:
        evaluator = ReferenceEvaluator(model)
        results = evaluator.run(None, {name: values[name] for name in names})
    except Exception as error:  # onnx.reference raises many kinds
        where = f" (node {node.origin[0]!r})" if node.origin else ""
        raise ModelError(f"onnx.reference cannot execute {node.op}{where}: {error}") from error
    assert isinstance(results, list)
    outputs = [name for name in node.outputs if name]
    return {name: np.asarray(result) for name, result in zip(outputs, results, strict=True)}


def value_from_proto(name: str, kind: TypeProto | None) -> Value:
    """Describe an ONNX value; unknown types and extents give `"other"` and None."""
    if kind is None or not kind.HasField("tensor_type"):
        return Value(name, "other", None)
    tensor = kind.tensor_type
    extents = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    is_known = tensor.HasField("shape") and all(extent is not None for extent in extents)
    shape = tuple(extent for extent in extents if extent is not None) if is_known else None
    return Value(name, dtype_name(tensor.elem_type), shape)


def dtype_name(elem_type: int) -> str:
    """NumPy's name of an ONNX element type, `"other"` when it has none."""
    if elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return "other"
    return helper.tensor_dtype_to_np_dtype(elem_type).name


def type_proto(value: Value) -> TypeProto:
    """ONNX's description of a value."""
    if value.dtype == "other":
        return TypeProto()
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_type_proto(elem_type, value.shape)


def _qualified(node: NodeProto) -> str:
    domain = "onnx" if node.domain in ("", "ai.onnx") else node.domain
    return f"{domain}.{node.op_type}"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if not isinstance(value, str) and hasattr(value, "__len__"):  # lists, and protobuf's repeated fields
        return tuple(_plain(item) for item in value)
    return value


def _attribute_proto(name: str, value: Any) -> AttributeProto:
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, numpy_helper.from_array(np.array(value)))
    if isinstance(value, tuple):
        return helper.make_attribute(name, list(value), attr_type=None if value else AttributeProto.INTS)
    return helper.make_attribute(name, value)
