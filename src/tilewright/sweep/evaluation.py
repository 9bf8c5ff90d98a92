"""One point: compile every model for its configuration, and let the cycle model say what that takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import HostStep, Program
from tilewright.compiler.qops import mac_count
from tilewright.compiler.targets.accelerator.layers import layer_name
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError, TilewrightError
from tilewright.isa.instructions import Engine, instruction_set
from tilewright.isa.sections import Queue
from tilewright.report import cycles_by_layer
from tilewright.sim.accesses import COUNTS, accesses
from tilewright.sim.api import DramTiming, LaunchResult
from tilewright.sim.energy import EnergyTable
from tilewright.sim.fast import FastSimulator
from tilewright.sim.rtl.cache import content_hash
from tilewright.sim.trace.stream import streams_of
from tilewright.sweep.cache import ResultCache, code_digest
from tilewright.sweep.models import integer_graph, model_digest

#: Programs that a process keeps, for points that differ in what programs do not depend on.
_PROGRAMS_KEPT = 4


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    Attributes
    ----------
    config : Config
    models : tuple of str
    memory : DramTiming
    cache : Path
        Folder of results.
    """

    config: Config
    models: tuple[str, ...]
    memory: DramTiming
    cache: Path


@dataclass(frozen=True)
class ModelResult:
    """What one model takes.

    Attributes
    ----------
    cycles, dram_bytes : int
    energy : float
        In picojoules.
    host : list of str
        Layers that the device cannot compute.
    layers : list of mapping
        `name`, `op`, `macs`, `cycles`, `energy` and `dram_bytes` of each layer on the device.
    """

    cycles: int
    dram_bytes: int
    energy: float
    host: list[str]
    layers: list[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a point gave.

    Attributes
    ----------
    models : mapping of str to mapping
        `ModelResult` as data, by model.
    reason : str
        Why there is no result; empty when there is one.
    """

    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that are summed over the models."""
        names = ("cycles", "energy", "dram_bytes")
        return {name: sum(result[name] for result in self.models.values()) for name in names}


def evaluate(task: Task) -> Outcome:
    """Measure a point on all its models; a point that cannot be measured says why."""
    try:
        return Outcome({name: _cached(task, name) for name in task.models})
    except TilewrightError as error:
        return Outcome(reason=" ".join(str(error).split()))


def _cached(task: Task, model: str) -> dict[str, Any]:
    cache = ResultCache(task.cache)
    key = content_hash((code_digest(), task.config.hash, model_digest(model), repr(task.memory)))
    result = cache.get(key)
    if result is None:
        result = asdict(_measure(task.config, model, task.memory))
        cache.put(key, result)
    return result


def _measure(config: Config, model: str, memory: DramTiming) -> ModelResult:
    program = _compiled(_as_compiled(config), model)
    simulator = FastSimulator(instruction_set(config), memory, compute_results=False)
    results = [simulator.launch(program.dram(), launch.offset, launch.count) for launch in program.launches]
    cycles = sum(result.cycles or 0 for result in results)
    layers = _layers(program, results, config)
    return ModelResult(
        cycles,
        sum(layer["dram_bytes"] for layer in layers),
        sum(layer["energy"] for layer in layers),
        [layer_name(step.node) for step in program.steps if isinstance(step, HostStep)],
        layers,
    )


def _as_compiled(config: Config) -> Config:
    """Return the configuration with the fields that no program depends on at their defaults."""
    default = Config()
    queue = Queue(token_bits=config.queue.token_bits)
    reads, writes = default.bus.reads_in_flight, default.bus.writes_in_flight
    bus = replace(config.bus, reads_in_flight=reads, writes_in_flight=writes)
    gemm = replace(config.gemm, cascade=default.gemm.cascade, packed=default.gemm.packed)
    epilogue = replace(config.epilogue, block_tables=default.epilogue.block_tables)
    return replace(config, name=default.name, queue=queue, bus=bus, gemm=gemm, epilogue=epilogue)


@lru_cache(maxsize=_PROGRAMS_KEPT)
def _compiled(config: Config, model: str) -> Program:
    """Compile a model.

    Raises
    ------
    CapacityError
        When a layer does not fit, or one that multiplies is left to the host: nobody knows what it takes there.
    """
    graph = integer_graph(model, config.epilogue.multiplier_bits)
    program = compile_model(graph, config)
    hosted = [step for step in program.steps if isinstance(step, HostStep)]
    left = [step for step in hosted if not step.node.is_onnx and mac_count(graph, step.node)]
    if left:
        first, reason = layer_name(left[0].node), left[0].reason
        raise CapacityError(f"{len(left)} layers that multiply are left to the host; layer {first}: {reason}")
    return program


def _layers(program: Program, results: list[LaunchResult], config: Config) -> list[Mapping[str, Any]]:
    """Charge every layer its cycles, and count what its instructions ask for."""
    table = EnergyTable.default()
    count = len(program.layers)
    cycles = np.zeros(count, np.int64)
    counts = {name: np.zeros(count, np.int64) for name in COUNTS}
    for stream, result in zip(streams_of(program), results, strict=True):
        assert result.trace is not None
        is_compute = np.zeros(len(stream), np.bool_)
        is_compute[stream.queues[Engine.COMPUTE]] = True
        charged = cycles_by_layer(stream.layer_of.tolist(), is_compute.tolist(), result.trace.end.tolist())
        cycles[list(charged)] += list(charged.values())
        for name, sums in accesses(stream.program).by_group(stream.layer_of, count).items():
            counts[name] += sums
    layers: list[Mapping[str, Any]] = []
    for index, layer in enumerate(program.layers):
        own = {name: int(sums[index]) for name, sums in counts.items()}
        layers.append(
            {
                "name": layer.name,
                "op": layer.op,
                "macs": layer.macs,
                "cycles": int(cycles[index]),
                "energy": sum(table.estimate(config, own, int(cycles[index])).values()),
                "dram_bytes": own["read_bytes"] + own["write_bytes"] + own["fetch_bytes"],
            }
        )
    return layers
