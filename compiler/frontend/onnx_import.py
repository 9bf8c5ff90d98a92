"""Imports an ONNX model as a graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
    version_converter,
)

from tilewright.compiler.frontend.choices import check_choices
from tilewright.compiler.frontend.convolutions import check_convolutions
from tilewright.compiler.frontend.decompose import decompose_qoperators
from tilewright.compiler.frontend.dimensions import bind_dimensions
from tilewright.compiler.frontend.model_file import read_model
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.onnx_nodes import dtype_name, from_proto, value_from_proto
from tilewright.compiler.graph.types import Array, Shape, Value
from tilewright.compiler.passes.fold_constants import FoldConstants
from tilewright.isa.errors import ModelError

_MOST_ELEMENTS = 1 << 32
_OLDEST_OPSET = 13  # DequantizeLinear has an axis from here on
_ASSUMED_OPSET = 17  # of what passes add to a model that uses no ONNX operators itself
_ONNX_DOMAINS = ("", "ai.onnx")


def import_onnx(
    source: str | Path | ModelProto,
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Graph:
    """Import a model: checked, its dimensions bound, types inferred, constants folded.

    QOperator nodes become DequantizeLinear, a float operator and QuantizeLinear, under the node's name; all other
    nodes, control flow included, stay as they are.

    Parameters
    ----------
    source
        Path of a `.onnx` file, or a model in memory.
    dims
        Extents of named dynamic dimensions. The first dimension of an input defaults to 1.
    shapes
        Whole shapes of inputs, by name, where they are known from the arrays that will be given.

    Raises
    ------
    ModelError
        When the file cannot be read, the model is invalid, or a dimension is not bound.
    """
    model, name = read_model(source)
    try:
        return _imported(model, name, dims, shapes)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name}: not an ONNX model, or damaged: a name is no text ({error})") from error


def _imported(
    model: ModelProto, name: str, dims: Mapping[str, int] | None, shapes: Mapping[str, Shape] | None
) -> Graph:
    _densify(model.graph)
    if model.functions:
        model = inliner.inline_local_functions(model)
    bind_dimensions(model, dims, name, shapes)
    _name_nodes(model)
    _hoist_constants(model)
    decompose_qoperators(model)
    model = _with_inferred_types(_with_recent_opset(model), name)
    return FoldConstants().apply(_graph_of(model, name))


def _densify(graph: GraphProto) -> None:
    """Write sparse initializers as ordinary ones."""
    graph.initializer.extend(
        numpy_helper.from_array(_dense(sparse), sparse.values.name) for sparse in graph.sparse_initializer
    )
    del graph.sparse_initializer[:]


def _dense(sparse: SparseTensorProto) -> Array:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        array.reshape(-1)[indices] = values
    else:
        array[tuple(indices.T)] = values
    return array


def _name_nodes(model: ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def _hoist_constants(model: ModelProto) -> None:
    """Turn Constant nodes into initializers."""
    kept = []
    for node in model.graph.node:
        array = _constant_of(node)
        if array is None:
            kept.append(NodeProto.FromString(node.SerializeToString()))
        else:
            model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _constant_of(node: NodeProto) -> Array | None:
    if node.op_type != "Constant" or node.domain not in _ONNX_DOMAINS:
        return None
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    match attribute.name:
        case "value":
            return numpy_helper.to_array(value)
        case "value_float" | "value_floats":
            return np.array(value, np.float32)
        case "value_int" | "value_ints":
            return np.array(value, np.int64)
        case "value_string" | "value_strings":
            return np.array(value, np.object_)
        case "sparse_value":
            return _dense(value)
    return None


def _with_recent_opset(model: ModelProto) -> ModelProto:
    """Convert models of an old opset; those that ONNX cannot convert stay as they are."""
    version = next((entry.version for entry in model.opset_import if entry.domain in _ONNX_DOMAINS), _ASSUMED_OPSET)
    if version >= _OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OLDEST_OPSET)
    except Exception:  # the converter raises RuntimeError, and others for what it does not know
        return model


def _with_inferred_types(model: ModelProto, name: str) -> ModelProto:
    inferred = _inferred(model, name)
    if not all(output.type.tensor_type.HasField("shape") for output in inferred.graph.output):
        _check_declared(model, name)
    return inferred


def _inferred(model: ModelProto, name: str) -> ModelProto:
    try:
        return shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:  # InferenceError, and RuntimeError from the C++ side
        raise ModelError(f"{name}: shapes cannot be inferred: {error}") from error


def _check_declared(model: ModelProto, name: str) -> None:
    """Refuse outputs that are declared with another element type than they have, of which nothing is inferred."""
    bare = ModelProto.FromString(model.SerializeToString())
    for output in bare.graph.output:
        output.ClearField("type")
    try:
        outputs = _inferred(bare, name).graph.output
    except ModelError:  # without a type it is not an output that ONNX knows
        return
    for found, declared in zip(outputs, model.graph.output, strict=True):
        kinds = [value.type.tensor_type.elem_type for value in (found, declared)]
        if all(kinds) and kinds[0] != kinds[1]:
            what = f"{dtype_name(kinds[0])}, not {dtype_name(kinds[1])} as it is declared"
            raise ModelError(f"{name}: output {found.name!r} is of type {what}")


def _check_sizes(values: Iterable[Value], name: str) -> None:
    """Refuse tensors that cannot be, or that no memory holds, before anything is planned for them."""
    for value in values:
        if value.shape is not None and min(value.shape, default=0) < 0:
            raise ModelError(f"{name}: {value.name!r} has shape {value.shape}: an extent must be at least 0")
        if value.shape is not None and math.prod(value.shape) > _MOST_ELEMENTS:
            raise ModelError(f"{name}: {value.name!r} has shape {value.shape}, of more than {_MOST_ELEMENTS} elements")


def _graph_of(model: ModelProto, name: str) -> Graph:
    proto = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
    values = {key: Value(key, array.dtype.name, array.shape) for key, array in constants.items()}
    for info in (*proto.input, *proto.value_info, *proto.output):
        if info.name not in constants:
            values[info.name] = value_from_proto(info.name, info.type)
    _check_sizes(values.values(), name)
    nodes = tuple(from_proto(node) for node in proto.node)
    for node in nodes:
        for output in filter(None, node.outputs):
            values.setdefault(output, Value(output, "other", None))
    check_choices(nodes, name)
    check_convolutions(nodes, values, name)
    used = {used for node in nodes for used in node.inputs} | {info.name for info in proto.output}
    inputs = tuple(info.name for info in proto.input if info.name not in constants)
    kept = {key: array for key, array in constants.items() if key in used}
    defined = {*inputs, *kept, *(output for node in nodes for output in node.outputs)}
    return Graph(
        name=proto.name or name,
        values={key: value for key, value in values.items() if key in defined},
        nodes=nodes,
        constants=kept,
        inputs=inputs,
        outputs=tuple(info.name for info in proto.output),
        opsets={"": _ASSUMED_OPSET}
        | {("" if e.domain in _ONNX_DOMAINS else e.domain): e.version for e in model.opset_import},
    )
