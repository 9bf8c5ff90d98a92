"""Subgraphs of control flow: what they read from the graph around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from onnx import AttributeProto, GraphProto, NodeProto


def is_graph(value: Any) -> TypeGuard[GraphProto]:
    """Whether an attribute's value is a subgraph; nobody changes those in place."""
    return isinstance(value, GraphProto)


def free_names(graph: GraphProto) -> tuple[str, ...]:
    """Name the values that a subgraph, and those inside it, read but do not define."""
    defined = {*_defined(graph), ""}
    reads = [name for node in graph.node for name in _reads(node)]
    reads += [result.name for result in graph.output]
    return tuple(name for name in dict.fromkeys(reads) if name not in defined)


def with_names(graph: GraphProto, names: Mapping[str, str]) -> GraphProto:
    """Give a copy of a subgraph that reads values from around it by other names; the same where none changes."""
    changed = {old: new for old, new in names.items() if old != new}
    if not changed:
        return graph
    copy = GraphProto()
    copy.CopyFrom(graph)
    _rename(copy, changed)
    return copy


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Give the subgraphs of a node."""
    graphs = [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]
    return graphs + [graph for attribute in node.attribute for graph in attribute.graphs]


def _defined(graph: GraphProto) -> set[str]:
    names = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    names |= {sparse.values.name for sparse in graph.sparse_initializer}
    return names | {output for node in graph.node for output in node.output}


def _reads(node: NodeProto) -> list[str]:
    return [*node.input, *(name for graph in subgraphs(node) for name in free_names(graph))]


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename in place; what the subgraph defines itself hides the name outside."""
    defined = _defined(graph)
    visible = {old: new for old, new in names.items() if old not in defined}
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = visible.get(name, name)
        for inner in subgraphs(node):
            _rename(inner, visible)
    for result in graph.output:
        result.name = visible.get(result.name, result.name)
