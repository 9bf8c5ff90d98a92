"""A network cut into segments, which a target computes, and nodes between them, which the host does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
