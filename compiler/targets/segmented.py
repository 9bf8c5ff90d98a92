"""A network cut into segments, which a target computes, and nodes between them, which the host does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.reference import evaluate_node

SegmentT = TypeVar("SegmentT")


class Runner(ABC, Generic[SegmentT]):
    """What can run segments."""

    @abstractmethod
    def run(self, segment: SegmentT, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs; `values` holds its inputs, among others."""


@dataclass(frozen=True, eq=False)
class SegmentedProgram(Generic[SegmentT]):
    """A network for a target.

    Attributes
    ----------
    graph : Graph
        The operators that are computed.
    steps : tuple of segments and Node
        In order; nodes run on the host.
    """

    graph: Graph
    steps: tuple[SegmentT | Node, ...]

    @property
    def segments(self) -> tuple[SegmentT, ...]:
        """The parts that the target computes."""
        return tuple(step for step in self.steps if not isinstance(step, Node))

    def run(self, inputs: Mapping[str, Array], runner: Runner[SegmentT]) -> dict[str, Array]:
        """Compute the outputs, segments by `runner`."""
        values: dict[str, Array] = {**self.graph.constants, **inputs}
        for step in self.steps:
            found = evaluate_node(self.graph, step, values) if isinstance(step, Node) else runner.run(step, values)
            values.update(found)
        return {name: values[name] for name in self.graph.outputs}


def cut(
    graph: Graph, is_for_target: Callable[[Node], bool], segment: Callable[[tuple[Node, ...]], SegmentT]
) -> tuple[SegmentT | Node, ...]:
    """Group nodes into segments, as few as their order allows, and leave the others to the host."""
    steps: list[SegmentT | Node] = []
    for is_targets, nodes in _parts(graph, is_for_target):
        steps += [segment(nodes)] if is_targets else nodes
    return tuple(steps)


def _parts(graph: Graph, is_for_target: Callable[[Node], bool]) -> list[tuple[bool, tuple[Node, ...]]]:
    """Group the nodes by where they run."""
    known = {*graph.inputs, *graph.constants, ""}
    pending, parts, is_targets = list(graph.nodes), [], False
    while pending:
        taken: list[Node] = []
        rest: list[Node] = []
        for node in pending:
            if is_for_target(node) == is_targets and known.issuperset(node.inputs):
                taken.append(node)
                known.update(node.outputs)
            else:
                rest.append(node)
        if taken:
            parts.append((is_targets, tuple(taken)))
        pending, is_targets = rest, not is_targets
    return parts
