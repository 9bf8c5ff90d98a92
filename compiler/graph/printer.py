"""The textual form of a graph, for people and for golden tests."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array

_SHOWN_ELEMENTS = 8


def print_graph(graph: Graph) -> str:
    """Give the text of a graph: one line a value, nodes in their order."""
    lines = [f"graph {graph.name}"]
    lines += [f"  input %{name}: {graph.values[name]}" for name in graph.inputs]
    lines += [f"  const %{name}: {graph.values[name]} = {_array(array)}" for name, array in graph.constants.items()]
    lines += [f"  {print_node(graph, node)}" for node in graph.nodes]
    lines += [f"  output %{name}: {graph.values[name]}" for name in graph.outputs]
    return "\n".join(lines) + "\n"


def print_node(graph: Graph, node: Node) -> str:
    """Give the line of one node."""
    results = ", ".join(f"%{name}: {graph.values[name]}" if name else "_" for name in node.outputs)
    operands = ", ".join(f"%{name}" if name else "_" for name in node.inputs)
    attributes = ", ".join(f"{name}={_attribute(value)}" for name, value in node.attributes.items())
    text = f"{results} = {node.op}({operands})"
    if attributes:
        text += f" {{{attributes}}}"
    if node.reason:
        text += f"  # host: {node.reason}"
    return text


def _attribute(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        inner = ", ".join(f"{name}={_attribute(item)}" for name, item in fields if item is not None)
        return f"{type(value).__name__}({inner})"
    if isinstance(value, tuple):
        return "[" + ", ".join(_attribute(item) for item in value) + "]"
    return str(value)


def _array(array: Array) -> str:
    if array.size <= _SHOWN_ELEMENTS:
        return str(array.tolist()).replace("'", '"')
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return f"sha256:{digest}"
