"""Models on this computer's processor: quantized ones with the accelerator's results, others in fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import count_differences, count_far
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import DEQUANTIZE
from tilewright.compiler.targets.cpu.float_operators import lacks_kernels, lower_floats
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import Level, level_of, with_bf16
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.native_segment import NativeSegment
from tilewright.compiler.targets.cpu.program import CpuProgram, Segment
from tilewright.compiler.targets.cpu.saved_program import NativeProgram
from tilewright.compiler.targets.cpu.schedules import Chooser, by_model, by_table
from tilewright.compiler.targets.kernels.float_graph import is_float_graph, simplified
from tilewright.compiler.targets.segmented import SegmentedProgram
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.cpu_cache import ModelCache, digest_of, is_self_contained
from tilewright.cpu_schedules import TuningCache
from tilewright.isa.errors import ConfigError, ModelError
from tilewright.report import LayerInfo
from tilewright.segmented_model import SegmentedModel, SegmentedReport, SegmentedRun

if TYPE_CHECKING:
    from onnx import ModelProto

Arrays = Mapping[str, NDArray[Any]]

_SAMPLES = 21

#: How far, in shares of themselves or of all, values of fp32 may be from the reference.
FAR = 1e-4

#: By precision; of bfloat16, which has eight bits, after dozens of layers.
FAR_BY_PRECISION = {"fp32": FAR, "bf16": 0.2}


@dataclass(frozen=True, eq=False)
class CpuModel(SegmentedModel[Segment | NativeSegment]):
    """A model compiled for this processor.

    Attributes
    ----------
    program : SegmentedProgram
        Its graph has no nodes where the model was compiled before.
    level : str
    machine : NativeMachine
    operators : callable
        Gives the integer graph, or the model's own where nothing is quantized.
    precision : str
        Of products of floats.
    """

    program: NativeProgram
    level: str
    machine: NativeMachine
    operators: Callable[[], Graph]
    precision: str = "fp32"

    @cached_property
    def graph(self) -> Graph:
        """The operators whose results it has; of a model that was compiled before, they are made when asked for."""
        return self.operators()

    @cached_property
    def is_float(self) -> bool:
        """Whether results are in floating point, and compared within its accuracy."""
        return is_float_model(self.graph)

    def why_host(self, node: Node) -> str:
        """Say why the host computes a node."""
        if self.is_float:
            return node.reason or f"no {self.precision} kernel of {node.op.rpartition('.')[2]}"
        return super().why_host(node)

    @property
    def title(self) -> str:
        """Model and target."""
        return f"{self.name} for {self.level}" + (f", {self.precision}" if self.precision != "fp32" else "")

    def segment_layers(self, segment: Segment | NativeSegment) -> list[LayerInfo]:
        """Give a segment's launches in order."""
        return [
            LayerInfo(launch.layer, launch.op, "cpu", launch.macs, f"{launch.tasks} tasks")
            for launch in segment.launches
        ]

    def segment_bytes(self, segment: Segment | NativeSegment) -> int:
        """Give the size of a segment's static memory plan."""
        return segment.memory_bytes

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute the outputs, without checks or a report."""
        return self.program.run(inputs, self.machine)

    def run(self, inputs: Arrays, *, is_timed: bool = False) -> SegmentedRun:
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
        return SegmentedRun(
            outputs, SegmentedReport(self.name, self.level, self.layers, times, milliseconds, self.memory_bytes)
        )

    def _layer_times(self) -> tuple[float | None, ...]:
        found: list[float | None] = []
        for step in self.program.steps:
            if isinstance(step, Node):
                found.append(None)
                continue
            loaded = self.machine.load(step)
            for number in range(len(step.launches)):
                best = min(_seconds(partial(loaded.launch, number)) for _ in range(_SAMPLES))
                found.append(best * 1e6)
        return tuple(found)

    def count_differences(self, inputs: Arrays, outputs: Arrays) -> dict[str, int]:
        """Count, for each output, the values that are not the reference's.

        Integers are to be the same; values of fp32 are wrong that are off by a ten-thousandth of themselves, or of the
        root of the mean square where that is more; with products of bfloat16, by a fifth.
        """
        expected = self.reference(inputs)
        if not self.is_float:
            return count_differences(expected, outputs)
        far = FAR_BY_PRECISION[self.precision]
        return {name: count_far(array, outputs[name], far) for name, array in expected.items()}


def _seconds(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compile_for_cpu(
    model: str | Path | ModelProto | Graph, *, dims: Mapping[str, int] | None = None, level: str | None = None,
    threads: int = 1, precision: str | None = None,
) -> CpuModel:  # fmt: skip
    """Compile a model for this computer's processor, or find it compiled in the user's cache directory.

    Schedules that `tilewright tune` has measured here are used.

    Parameters
    ----------
    model : path, ModelProto or Graph
    dims : mapping, optional
        Extents of named dynamic dimensions.
    level : str, optional
        Instructions to use, a name of `tilewright.compiler.targets.cpu.levels`; by default the best.
    threads : int
        That run the model together; they sleep when there is nothing to do.
    precision : str, optional
        Of a model in floating point: `fp32`, or `bf16` for products of bfloat16 that are summed up in fp32, with
        activations between them in bfloat16.

    Raises
    ------
    ModelError
        When the model cannot be read, is invalid, or holds an operator that nothing here knows.
    ConfigError
        When this processor does not have the instructions, there cannot be so many threads, or there is no such
        precision, or one is asked for of a quantized model.
    """
    chosen, machine = level_for(level, precision), NativeMachine(ObjectCache.default(), threads)
    cache, digest = ModelCache.default(), digest_of(model)
    schedules = TuningCache.default().read(chosen.name)
    key = cache.key(digest, dims, f"{chosen.name} {precision}", threads, schedules.digest)
    known = cache.read(key) if digest else None
    if known is not None and not isinstance(model, Graph):
        again = partial(_operators_again, model, dims, digest)
        return CpuModel(known, chosen.name, machine, again, precision or "fp32")
    graph = operators_of(model, dims)
    check_precision(graph, precision)
    lowered = lower_model(graph, chosen, by_table(schedules.chosen, threads > 1))
    steps = tuple(machine.compile(step) if isinstance(step, Segment) else step for step in lowered.steps)
    program: NativeProgram = SegmentedProgram(lowered.graph, steps)
    if not isinstance(model, Graph) and digest and digest_of(model) == digest and is_self_contained(model):
        cache.write(key, program)
    return CpuModel(program, chosen.name, machine, lambda: graph, precision or "fp32")


def level_for(level: str | None, precision: str | None) -> Level:
    """Find the instructions for a precision.

    Raises
    ------
    ConfigError
        When there is no such level or precision, or this processor does not have them.
    """
    if precision not in (None, *FAR_BY_PRECISION):
        raise ConfigError(f"a precision is {' or '.join(FAR_BY_PRECISION)}, not `{precision}`")
    return with_bf16(level_of(level)) if precision == "bf16" else level_of(level)


def check_precision(graph: Graph, precision: str | None) -> None:
    """Raise ConfigError where a precision is asked for of a quantized model."""
    if precision is not None and not is_float_model(graph):
        raise ConfigError(f"`{graph.name}` is quantized: a precision, here {precision}, is for models in floats")


def operators_of(model: str | Path | ModelProto | Graph, dims: Mapping[str, int] | None = None) -> Graph:
    """Give the operators whose results a compiled model must have: integer ones where anything is quantized."""
    from tilewright.api import load
    from tilewright.compiler.passes.base import run_passes
    from tilewright.compiler.passes.pipeline import integer_passes

    imported = model if isinstance(model, Graph) else load(model, dims=dims)
    return imported if is_float_model(imported) else run_passes(imported, integer_passes())


def is_float_model(graph: Graph) -> bool:
    """Whether a model computes in floating point, whatever its constants are stored as."""
    kept = (node for node in graph.nodes if node.op != DEQUANTIZE or node.inputs[0] not in graph.constants)
    return is_float_graph(graph.with_nodes(kept))


def lower_model(graph: Graph, level: Level, choose: Chooser = by_model) -> CpuProgram:
    """Compile what `operators_of` gave to kernels of a level's instructions."""
    if not is_float_model(graph):
        return lower(graph, level, choose)
    program = lower_floats(simplified(graph), level, choose)
    return lower_floats(graph, level, choose) if lacks_kernels(program) else program


def _operators_again(model: str | Path | ModelProto, dims: Mapping[str, int] | None, digest: str) -> Graph:
    """Make the graph of a model that was compiled before."""
    if digest_of(model) != digest:
        raise ModelError(f"`{model if isinstance(model, (str, Path)) else model.graph.name}` changed while it was used")
    return operators_of(model, dims)


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
