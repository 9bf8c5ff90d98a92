"""ONNX operators inside a graph: conversion to and from ONNX's own form, execution by onnx.reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.subgraphs import free_names, is_graph, with_names
from tilewright.compiler.graph.types import Array, FrozenMap, Value
from tilewright.isa.errors import ModelError

# The oldest versions that onnx.reference executes as models mean them; older models mean the same by these operators.
# It takes a BatchNormalization of opset 9 to 13 for one that trains.
_OLDEST_EXECUTED = {"onnx.QuantizeLinear": 19, "onnx.DequantizeLinear": 19, "onnx.BatchNormalization": 15}
# onnx.reference converts to int32 before it saturates; what is as many steps from zero as this saturates already.
_FARTHEST_STEP = float(1 << 24)
# An attribute of control flow: the names by which its subgraphs read the node's last inputs.
CAPTURED = "captured"


def from_proto(node: NodeProto) -> Node:
    """Convert an ONNX node.

    What subgraphs of control flow read from around them becomes inputs of the node, behind its own.
    """
    attributes = {attribute.name: _plain(helper.get_attribute_value(attribute)) for attribute in node.attribute}
    graphs = [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]
    captured = tuple(dict.fromkeys(name for graph in graphs for name in free_names(graph)))
    if captured:
        attributes[CAPTURED] = captured
    origin = (node.name,) if node.name else ()
    return Node(_qualified(node), (*node.input, *captured), tuple(node.output), FrozenMap(attributes), origin)


def to_proto(node: Node) -> NodeProto:
    """Convert an ONNX operator back to ONNX's form; subgraphs read what they captured by its present names."""
    domain, _, op_type = node.op.rpartition(".")
    captured = node.get(CAPTURED, ())
    own = len(node.inputs) - len(captured)
    names = dict(zip(captured, node.inputs[own:], strict=True))
    domain = "" if domain == "onnx" else domain
    proto = helper.make_node(op_type, list(node.inputs[:own]), list(node.outputs), domain=domain)
    for name, value in node.attributes.items():
        if name != CAPTURED:
            proto.attribute.append(_attribute_proto(name, with_names(value, names) if is_graph(value) else value))
    return proto


def run_onnx_node(node: Node, values: Mapping[str, Array], opsets: Mapping[str, int]) -> dict[str, Array]:
    """Execute one ONNX operator with onnx.reference.

    Raises
    ------
    ModelError
        When onnx.reference does not know the operator.
    """
    try:
        evaluator = ReferenceEvaluator(_model_of(node, values, opsets))
        results = evaluator.run(None, _operands(node, values))
    except Exception as error:  # onnx.reference raises many kinds
        where = f" (node {node.origin[0]!r})" if node.origin else ""
        said = " ".join(f"{node.op}{where}: {error}".split())
        raise ModelError(f"onnx.reference cannot execute {said}") from error
    outputs = [name for name in node.outputs if name]
    return {name: _result(result) for name, result in zip(outputs, results, strict=True)}


def _model_of(node: Node, values: Mapping[str, Array], opsets: Mapping[str, int]) -> ModelProto:
    graph = helper.make_graph(
        [to_proto(node)],
        "node",
        [helper.make_value_info(name, _type_of(values[name])) for name in dict.fromkeys(node.inputs) if name],
        [helper.make_value_info(name, TypeProto()) for name in node.outputs if name],
    )
    oldest = _OLDEST_EXECUTED.get(node.op, 0)
    imports = [
        helper.make_opsetid(domain, version if domain else max(version, oldest)) for domain, version in opsets.items()
    ]
    return helper.make_model(graph, opset_imports=imports)


def _operands(node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    """Give what a node reads; what is quantized not so large that onnx.reference overflows."""
    operands = {name: values[name] for name in node.inputs if name}
    if node.op == "onnx.QuantizeLinear":
        x, scale = (np.asarray(values[name]) for name in node.inputs[:2])
        if scale.size == 1 and x.dtype.kind == "f":
            most = min(abs(float(scale.reshape(()))) * _FARTHEST_STEP, float(np.finfo(x.dtype).max))
            operands[node.inputs[0]] = np.clip(x, -most, most).astype(x.dtype)
    return operands


def _type_of(value: Any) -> TypeProto:
    """Type a value for operators that are functions of their types."""
    if not isinstance(value, np.ndarray):
        return TypeProto()
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _result(result: Any) -> Any:
    """Make an array of a scalar; sequences, maps and what is absent stay as they are."""
    return np.asarray(result) if isinstance(result, (np.generic, bool, int, float, str)) else result


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
    """NumPy's name of an ONNX element type, `"object"` of strings, `"other"` when it has none.

    Raises
    ------
    ModelError
        When ONNX has no such type.
    """
    if elem_type == onnx.TensorProto.UNDEFINED:
        return "other"
    try:
        return helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        raise ModelError(f"a tensor's element type must be one of ONNX's, not number {elem_type}") from None


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
        items = [numpy_helper.from_array(np.array(item)) if isinstance(item, np.ndarray) else item for item in value]
        return helper.make_attribute(name, items, attr_type=None if items else AttributeProto.INTS)
    return helper.make_attribute(name, value)
