"""Finds the operators between two values and computes what they do to numbers: so are spelled-out functions known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.reference import evaluate_node


@dataclass(frozen=True)
class Region:
    """Nodes that compute `result` from `source` and constants alone.

    Parameters
    ----------
    source, result
        Values.
    nodes
        In the order in which they run.
    """

    source: str
    result: str
    nodes: tuple[Node, ...]

    def evaluate(self, graph: Graph, x: Array) -> Array:
        """Compute the result of a source `x`, which may have other extents where the nodes do not mind."""
        values: dict[str, Array] = {**graph.constants, self.source: x}
        with np.errstate(all="ignore"):
            for node in self.nodes:
                values.update(evaluate_node(graph, node, values))
        return values[self.result]

    @property
    def origin(self) -> tuple[str, ...]:
        """Names of the ONNX nodes."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.origin))


def region_between(graph: Graph, source: str, result: str, operators: Collection[str]) -> Region | None:
    """Give the nodes between two values; None when other values or operators take part."""
    found: dict[str, Node] = {}
    pending = [result]
    while pending:
        name = pending.pop()
        if name == source or graph.constant(name) is not None or name in found:
            continue
        node = graph.producer(name)
        if node is None or node.op not in operators:
            return None
        found[name] = node
        pending.extend(filter(None, node.inputs))
    if not any(source in node.inputs for node in found.values()):
        return None
    return Region(source, result, tuple(node for node in graph.nodes if node.output in found))


def results_behind(graph: Graph, node: Node, operators: Collection[str], most: int) -> list[str]:
    """Name the values that are computed from a node's by one operator after the other, the last first."""
    names = [node.output]
    while len(names) <= most and graph.has_single_use(names[-1]):
        (user,) = graph.consumers[names[-1]]
        if user.op not in operators:
            break
        names.append(user.output)
    return names[:0:-1]


def values_before(graph: Graph, name: str, operators: Collection[str], most: int) -> list[str]:
    """Name the computed or given values that a value depends on through some operators, the nearest first."""
    names: list[str] = []
    pending = [name]
    while pending and len(names) < most:
        node = graph.producer(pending.pop(0))
        if node is None or node.op not in operators:
            continue
        sources = [source for source in node.inputs if source and graph.constant(source) is None]
        new = [source for source in dict.fromkeys(sources) if source not in names]
        names += new
        pending += new
    return names


def is_close(a: Array, b: Array, tolerance: float) -> bool:
    """Whether arrays have one shape and differ by no more than a tolerance."""
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= tolerance))
