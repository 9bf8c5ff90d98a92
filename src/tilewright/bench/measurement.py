"""One workload run on a simulator and checked, with the least that its array and its bus allow."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.bench.suites import Context
from tilewright.bench.workloads import SHAPES, WORKLOADS, Workload
from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from tilewright.api import Compiled
    from tilewright.report import Report, Work


@dataclass(frozen=True)
class Measurement:
    """What a workload took.

    Attributes
    ----------
    cycles : int
    array_cycles : float
        What the array needs when every multiplier is always busy.
    ideal_cycles : float
        What array and bus need, whichever needs more: each operand read once, each result written once, depthwise
        convolutions fed with a pixel a cycle.
    dram_bytes : int
    bounds : Counter of str
        Cycles by what bounds them.
    busy_cycles : float
        Of them, those in which it is busy with what the layers, as compiled, ask of it.
    host : tuple of str
        Kinds of the layers that the host computed.
    wrong, values : int
        Output values, and how many differ from the integer reference.
    """

    cycles: int
    array_cycles: float
    ideal_cycles: float
    dram_bytes: int
    bounds: Counter[str] = field(default_factory=Counter)
    busy_cycles: float = 0.0
    host: tuple[str, ...] = ()
    wrong: int = 0
    values: int = 0

    @property
    def bound(self) -> str | None:
        """What bounds most of the cycles."""
        return self.bounds.most_common(1)[0][0] if self.bounds else None

    def scaled(self, count: int) -> Measurement:
        """Give the same, `count` times."""
        bounds = Counter({bound: count * cycles for bound, cycles in self.bounds.items()})
        return Measurement(
            count * self.cycles, count * self.array_cycles, count * self.ideal_cycles, count * self.dram_bytes,
            bounds, count * self.busy_cycles, self.host, self.wrong, self.values,
        )  # fmt: skip

    def __add__(self, other: Measurement) -> Measurement:
        return Measurement(
            self.cycles + other.cycles, self.array_cycles + other.array_cycles,
            self.ideal_cycles + other.ideal_cycles, self.dram_bytes + other.dram_bytes,
            self.bounds + other.bounds, self.busy_cycles + other.busy_cycles, self.host + other.host,
            self.wrong + other.wrong, self.values + other.values,
        )  # fmt: skip


def measured(workload: Workload, context: Context) -> Measurement:
    """Run a workload, or the parts of a sum; what has run in the same context is not run again.

    Raises
    ------
    InputError
        When it is a file that is not there, or cannot be measured yet.
    TilewrightError
        When it cannot be compiled or run.
    """
    if workload.missing:
        raise InputError(workload.missing)
    key = (workload.name, context.on, context.config.hash, context.dram)
    if key not in context.results:
        if workload.parts:
            parts = [measured(WORKLOADS[name], context).scaled(count) for name, count in workload.parts]
            context.results[key] = sum(parts[1:], parts[0])
        else:
            context.results[key] = _run(workload, context)
    result = context.results[key]
    assert isinstance(result, Measurement)
    return result


def _run(workload: Workload, context: Context) -> Measurement:
    from tilewright import api
    from tilewright.arrays import random_inputs

    assert workload.source is not None
    model = workload.source(context.config, context.models)
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"no `{model.name}` in the folder of models (--models)")
    compiled = api.compile(model, context.config)
    inputs = random_inputs(compiled.inputs, zlib.crc32(workload.name.encode()))
    result = compiled.run(inputs, on=context.simulator(context.on), host="reference")
    wrong = sum(compiled.count_differences(inputs, result.outputs).values())
    return _measurement(workload, compiled, context, result.report, wrong, sum(y.size for y in result.outputs.values()))


def _measurement(
    workload: Workload, compiled: Compiled, context: Context, report: Report, wrong: int, values: int
) -> Measurement:
    from tilewright.execution import bytes_per_cycle

    macs, read, written = _least(workload, compiled, report)
    rate = bytes_per_cycle(context.config, context.dram)
    array = macs / context.config.macs_per_cycle
    bounds: Counter[str] = Counter()
    busy = 0.0
    for layer in report.layers:
        if layer.cycles and layer.bound:
            bounds[layer.bound] += layer.cycles
            busy += min(layer.cycles, _busiest(layer.work, rate))
    assert report.cycles is not None
    needed = sum(layer.ideal_cycles for layer in compiled.program.layers)
    return Measurement(
        report.cycles, array, max(array, needed, read / rate, written / rate),
        report.work.read_bytes + report.work.write_bytes, bounds, busy,
        tuple(dict.fromkeys(layer.kind for layer in report.layers if layer.place == "host")), wrong, values,
    )  # fmt: skip


def _busiest(work: Work, rate: float) -> float:
    """Cycles that the busiest of compute pipeline, reads and writes needs."""
    return max(work.gemm_steps + work.vector_steps, work.read_bytes / rate, work.write_bytes / rate)


def _least(workload: Workload, compiled: Compiled, report: Report) -> tuple[int, int, int]:
    """Give multiply-accumulates, and the bytes that must be read and written."""
    shape = SHAPES.get(workload.name)
    if shape is not None:
        count = compiled.config.gemm.batch if isinstance(shape, ConvolutionShape) else 1
        inputs, weights, outputs = shape.least_bytes
        return count * shape.macs, count * inputs + weights, count * outputs
    assert compiled.graph is not None
    weights = sum(a.nbytes for a in compiled.graph.constants.values() if a.dtype.itemsize == 1 and a.ndim > 1)
    inputs, outputs = (
        sum(prod(value.known_shape) for value in values.values()) for values in (compiled.inputs, compiled.outputs)
    )
    return report.macs, weights + inputs, outputs
