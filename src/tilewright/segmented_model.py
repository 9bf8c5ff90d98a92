"""What models for this computer's processor and for a GPU have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.inputs import check_inputs
from tilewright.compiler.graph.types import Value
from tilewright.compiler.partition import why_host
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.segmented import SegmentedProgram
from tilewright.report import LayerInfo

SegmentT = TypeVar("SegmentT")


@dataclass(frozen=True)
class SegmentedReport:
    """What a run took.

    Attributes
    ----------
    model, processor : str
        `processor` is the instructions that are used, or the GPU.
    layers : tuple of LayerInfo
        Launches and host nodes in order; `place` is `cpu`, `gpu` or `host`.
    microseconds : tuple of float or None
        Of each layer by itself, the least of several repetitions; None for what was not timed.
    milliseconds : float or None
        Of a whole run, the median of several; on a GPU of its graphs, without copies and the host.
    memory_bytes : int
        Of the static memory plan.
    """

    model: str
    processor: str
    layers: tuple[LayerInfo, ...]
    microseconds: tuple[float | None, ...]
    milliseconds: float | None
    memory_bytes: int

    def as_data(self) -> dict[str, Any]:
        """Give the report for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SegmentedRun:
    """What a run gave.

    Attributes
    ----------
    outputs : dict of str to array
    report : SegmentedReport
    """

    outputs: dict[str, NDArray[Any]]
    report: SegmentedReport


class SegmentedModel(ABC, Generic[SegmentT]):
    """A model whose segments a target computes, and whose other operators the host does."""

    program: SegmentedProgram[SegmentT]

    @property
    def graph(self) -> Graph:
        """The operators that it computes."""
        return self.program.graph

    @property
    def source(self) -> Graph:
        """The operators whose results it must have."""
        return self.graph

    @property
    def name(self) -> str:
        """The model's name."""
        return self.program.graph.name

    @property
    def inputs(self) -> dict[str, Value]:
        """The model's inputs by name."""
        return {name: self.program.graph.values[name] for name in self.program.graph.inputs}

    @property
    def outputs(self) -> dict[str, Value]:
        """The model's outputs by name."""
        return {name: self.program.graph.values[name] for name in self.program.graph.outputs}

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """All launches and host nodes in order."""
        found: list[LayerInfo] = []
        for step in self.program.steps:
            if isinstance(step, Node):
                name = step.name
                found.append(LayerInfo(name, step.op, "host", note=self.why_host(step)))
            else:
                found += self.segment_layers(step)
        return tuple(found)

    @abstractmethod
    def segment_layers(self, segment: SegmentT) -> list[LayerInfo]:
        """Give a segment's launches in order."""

    @abstractmethod
    def segment_bytes(self, segment: SegmentT) -> int:
        """Give the size of a segment's static memory plan."""

    def why_host(self, node: Node) -> str:
        """Say why the host computes a node."""
        return why_host(self.graph, node) or f"no kernel of {node.op}"

    @property
    def memory_bytes(self) -> int:
        """Of the static memory plan."""
        return sum(self.segment_bytes(segment) for segment in self.program.segments)

    def check_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise InputError unless `inputs` are exactly what the model asks for."""
        check_inputs(self.inputs.values(), inputs)

    def reference(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the outputs by the reference: in integers, or in floating point as the model says."""
        return evaluate(self.source, dict(inputs))
