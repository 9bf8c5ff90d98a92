"""Models on this computer's processor: compiled by the same passes as for the accelerator, with the same results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import count_differences
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.inputs import check_inputs
from tilewright.compiler.graph.types import Value
from tilewright.compiler.partition import why_host
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import level_of
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.program import CpuProgram, Launch, Segment
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.report import LayerInfo

if TYPE_CHECKING:
    from onnx import ModelProto

Arrays = Mapping[str, NDArray[Any]]

_SAMPLES = 21


@dataclass(frozen=True)
class CpuReport:
    """What a run took.

    Attributes
    ----------
    model, level : str
        `level` names the instructions that are used.
    layers : tuple of LayerInfo
        Launches and host nodes in order; `place` is `cpu` or `host`.
    microseconds : tuple of float or None
        Of each layer by itself, the least of several repetitions; None for what the host computes, or without timing.
    milliseconds : float or None
        Of a whole run, the median of several.
    memory_bytes : int
        Of the static memory plan.
    """

    model: str
    level: str
    layers: tuple[LayerInfo, ...]
    microseconds: tuple[float | None, ...]
    milliseconds: float | None
    memory_bytes: int

    def as_data(self) -> dict[str, Any]:
        """Give the report for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CpuRun:
    """What a run gave.

    Attributes
    ----------
    outputs : dict of str to array
    report : CpuReport
    """

    outputs: dict[str, NDArray[Any]]
    report: CpuReport


@dataclass(frozen=True, eq=False)
class CpuModel:
    """A model compiled for this processor; it becomes machine code when it is run first.

    Attributes
    ----------
    program : CpuProgram
    level : str
    machine : NativeMachine
    """

    program: CpuProgram
    level: str
    machine: NativeMachine = field(default_factory=lambda: NativeMachine(ObjectCache.default()))

    @property
    def graph(self) -> Graph:
        """The integer operators that it computes."""
        return self.program.graph

    @property
    def name(self) -> str:
        """The model's name."""
        return self.graph.name

    @property
    def title(self) -> str:
        """Model and target."""
        return f"{self.name} for {self.level}"

    @property
    def inputs(self) -> dict[str, Value]:
        """The model's inputs by name."""
        return {name: self.graph.values[name] for name in self.graph.inputs}

    @property
    def outputs(self) -> dict[str, Value]:
        """The model's outputs by name."""
        return {name: self.graph.values[name] for name in self.graph.outputs}

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """All launches and host nodes in order."""
        found: list[LayerInfo] = []
        for step in self.program.steps:
            if isinstance(step, Node):
                name = step.origin[0] if step.origin else step.output
                reason = why_host(self.graph, step) or f"no kernel of {step.op}"
                found.append(LayerInfo(name, step.op, "host", note=reason))
            else:
                found += [_launch_info(launch) for launch in step.launches]
        return tuple(found)

    def check_inputs(self, inputs: Arrays) -> None:
        """Raise InputError unless `inputs` are exactly what the model asks for."""
        check_inputs(self.inputs.values(), inputs)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute the outputs, without checks or a report."""
        return self.program.run(inputs, self.machine)

    def run(self, inputs: Arrays, *, is_timed: bool = False) -> CpuRun:
        """Run on this processor.

        Parameters
        ----------
        inputs : mapping of str to array
            By name, of the model's shapes and types.
        is_timed : bool
            Run some times more, to time the model and its layers.

        Raises
        ------
        InputError
            When the inputs are not what the model asks for.
        """
        self.check_inputs(inputs)
        outputs = self(inputs)
        times: tuple[float | None, ...] = (None,) * len(self.layers)
        milliseconds = None
        if is_timed:
            milliseconds = median(_seconds(lambda: self(inputs)) for _ in range(_SAMPLES)) * 1e3
            times = self._layer_times()
        memory = sum(segment.plan.size for segment in self.program.segments)
        return CpuRun(outputs, CpuReport(self.name, self.level, self.layers, times, milliseconds, memory))

    def _layer_times(self) -> tuple[float | None, ...]:
        found: list[float | None] = []
        for step in self.program.steps:
            if not isinstance(step, Segment):
                found.append(None)
                continue
            loaded = self.machine.load(step)
            for number in range(len(step.launches)):
                best = min(_seconds(partial(loaded.launch, number)) for _ in range(_SAMPLES))
                found.append(best * 1e6)
        return tuple(found)

    def reference(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute the outputs by the integer reference."""
        from tilewright.compiler.reference import evaluate

        return evaluate(self.graph, dict(inputs))

    def count_differences(self, inputs: Arrays, outputs: Arrays) -> dict[str, int]:
        """Count, for each output, the values that are not exactly the integer reference's."""
        return count_differences(self.reference(inputs), outputs)


def _seconds(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _launch_info(launch: Launch) -> LayerInfo:
    return LayerInfo(launch.layer, launch.op, "cpu", launch.macs, f"{launch.kernel.tasks} tasks")


def compile_for_cpu(
    model: str | Path | ModelProto | Graph, *, dims: Mapping[str, int] | None = None, level: str | None = None,
    threads: int = 1,
) -> CpuModel:  # fmt: skip
    """Compile a model for this computer's processor.

    Parameters
    ----------
    model : path, ModelProto or Graph
    dims : mapping, optional
        Extents of named dynamic dimensions.
    level : str, optional
        Instructions to use, a name of `tilewright.compiler.targets.cpu.levels`; by default the best.
    threads : int
        That run the model together; they sleep when there is nothing to do.

    Raises
    ------
    ModelError
        When the model cannot be read, is invalid, or holds an operator that nothing here knows.
    ConfigError
        When this processor does not have the instructions, or there cannot be so many threads.
    """
    from tilewright.api import load
    from tilewright.compiler.passes.base import run_passes
    from tilewright.compiler.passes.pipeline import integer_passes

    chosen, machine = level_of(level), NativeMachine(ObjectCache.default(), threads)
    imported = model if isinstance(model, Graph) else load(model, dims=dims)
    graph = run_passes(imported, integer_passes())
    return CpuModel(lower(graph, chosen), chosen.name, machine)


def random_inputs(graph: Graph, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Give random inputs: normal floats, and integers over the whole range of bytes."""
    found: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        shape, dtype = graph.shape(name), np.dtype(graph.dtype(name))
        if dtype.kind == "f":
            found[name] = rng.standard_normal(shape).astype(dtype)
        else:
            low, high = (-128, 128) if dtype == np.int8 else (0, 256 if dtype == np.uint8 else 2)
            found[name] = rng.integers(low, high, shape).astype(dtype)
    return found
