"""What a pass is, and how a list of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.verify import verify


class Pass(Protocol):
    """A frozen dataclass whose fields are the pass's options; `apply` gives the changed graph."""

    @property
    def name(self) -> str:
        """What reports and messages call the pass."""

    def apply(self, graph: Graph) -> Graph:
        """Give the graph after the pass."""


def run_passes(graph: Graph, passes: Iterable[Pass]) -> Graph:
    """Apply passes in order; the graph is verified before the first and after each that changes it."""
    verify(graph)
    for step in passes:
        changed = step.apply(graph)
        if changed is not graph:
            verify(changed)
        graph = changed
    return graph


def until_stable(graph: Graph, step: Callable[[Graph], Graph]) -> Graph:
    """Apply `step` until it gives back the graph that it was given."""
    while (changed := step(graph)) is not graph:
        graph = changed
    return graph
