"""Reads an ONNX file, its external data included, and checks it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from tilewright.isa.errors import ModelError


def read_model(source: str | Path | ModelProto) -> tuple[ModelProto, str]:
    """Read and check a model; give it with the name that messages call it by.

    Raises
    ------
    ModelError
        When the file is missing, truncated, not ONNX, refers to data outside its folder, or is invalid.
    """
    if isinstance(source, ModelProto):
        model, name = ModelProto(), source.graph.name or "model"
        model.CopyFrom(source)
    else:
        path = Path(source)
        model, name = _parsed(path), path.name
        _load_external_data(model, path)
    _check(model, name)
    return model, name


def _parsed(path: Path) -> ModelProto:
    if not os.path.isfile(path):  # unlike `is_file`, false for what cannot be a path at all
        raise ModelError(f"{path}: no such model file")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, RuntimeError, OSError) as error:
        raise ModelError(f"{path.name}: not an ONNX model, or truncated ({error})") from error
    return model


def _load_external_data(model: ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    tensors = [tensor for tensor in tensors_of(model.graph) if uses_external_data(tensor)]
    for tensor in tensors:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        target = (folder / location).resolve()
        if not location or not target.is_relative_to(folder):
            raise ModelError(
                f"{path.name}: external data of {tensor.name!r} must lie in the model's folder, not at {location!r}"
            )
        if not os.path.isfile(target):
            raise ModelError(f"{path.name}: external data file {location!r} of {tensor.name!r} is missing")
    if not tensors:
        return
    try:
        load_external_data_for_model(model, str(folder))
    except Exception as error:  # onnx raises several kinds for damaged data
        raise ModelError(f"{path.name}: external data cannot be read ({_first_line(error)})") from error


def tensors_of(graph: GraphProto) -> list[TensorProto]:
    """Return all constants of a graph, those of its operators' attributes and subgraphs among them."""
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            tensors.append(attribute.t)
            tensors.extend(attribute.tensors)
            for subgraph in (attribute.g, *attribute.graphs):
                tensors.extend(tensors_of(subgraph) if subgraph.node else subgraph.initializer)
    return tensors


def _check(model: ModelProto, name: str) -> None:
    if not model.opset_import or (not model.graph.node and not model.graph.output):
        raise ModelError(f"{name}: not an ONNX model, or truncated (it holds no graph)")
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and RuntimeError from the C++ side
        raise ModelError(f"{name}: invalid ONNX model: {_first_line(error)}") from error
    for tensor in tensors_of(model.graph):
        if not tensor.data_type:
            continue  # an attribute without a tensor
        try:
            numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"the data of {tensor.name!r} do not fit its type and dims {list(tensor.dims)}"
            raise ModelError(f"{name}: invalid ONNX model: {reason} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
