"""Runs a program and accounts for the run, layer by layer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.program import Launch, Program
from tilewright.isa.config import Config
from tilewright.isa.instructions import OPCODE_BITS, Engine, InstructionSet, instruction_set
from tilewright.report import LayerInfo, LayerReport, Report, Work, bound_of, cycles_by_layer, work_by_layer
from tilewright.sim.api import DramTiming, LaunchResult, Simulator

if TYPE_CHECKING:
    from tilewright.native_host import NativeHost


def placed_layers(program: Program) -> list[tuple[int | None, LayerInfo]]:
    """Give all layers in the order in which they run; those of the device with their index in the program."""
    placed: list[tuple[int | None, LayerInfo]] = []
    for step in program.steps:
        if isinstance(step, Launch):
            placed += [(index, _device_info(program, index)) for index in _launch_layers(program, step)]
        else:
            placed.append((None, LayerInfo(step.node.name, step.node.op, "host", note=step.reason)))
    return placed


def _device_info(program: Program, index: int) -> LayerInfo:
    layer = program.layers[index]
    return LayerInfo(layer.name, layer.op, "device", layer.macs, layer.tiling, layer.moved_bytes, layer.needed_bytes)


def _slice(launch: Launch) -> slice:
    return slice(launch.first_instruction, launch.first_instruction + launch.count)


def _launch_layers(program: Program, launch: Launch) -> list[int]:
    return sorted({int(layer) for layer in program.instruction_layers[_slice(launch)]})


def simulator_name(simulator: Simulator) -> str:
    """Give the name that `--on` has for a simulator."""
    return type(simulator).__name__.removesuffix("Simulator").lower()


def bytes_per_cycle(config: Config, dram: DramTiming) -> float:
    """Bytes a cycle that the memory port and the memory behind it can move together, one way."""
    return config.bus_bytes / -(-config.bus_bytes // dram.bytes_per_cycle)


def account(
    program: Program, simulator: Simulator, launches: Sequence[LaunchResult], seconds: Mapping[str, float],
    native: frozenset[str] = frozenset(),
) -> Report:  # fmt: skip
    """Make the report of a run from the results of its launches, in order; `native` names what the CPU target made."""
    isa = instruction_set(program.config)
    rate = bytes_per_cycle(program.config, getattr(simulator, "dram", DramTiming()))
    reports: dict[int, LayerReport] = {}
    for launch, result in zip(program.launches, launches, strict=True):
        reports |= _launch_reports(program, isa, launch, result, rate)
    layers = tuple(
        _host_report(info, native) if index is None else reports[index] for index, info in placed_layers(program)
    )
    timed = [result.cycles for result in launches if result.cycles is not None]
    config = program.config
    return Report(
        program.name, config.name, config.hash, simulator_name(simulator), config.macs_per_cycle,
        layers, sum(timed) if timed else None, _added(launches), dict(seconds),
    )  # fmt: skip


def _launch_reports(
    program: Program, isa: InstructionSet, launch: Launch, result: LaunchResult, rate: float
) -> dict[int, LayerReport]:
    layer_of = [int(layer) for layer in program.instruction_layers[_slice(launch)]]
    start = launch.offset - program.image_offset
    instructions = program.image[start : start + launch.count * isa.instruction_bytes].tobytes()
    work = work_by_layer(isa, instructions, layer_of)
    charges: dict[int, int] = {}
    if result.trace is not None:
        is_compute = [_engine(isa, instructions, i) is Engine.COMPUTE for i in range(launch.count)]
        charges = cycles_by_layer(layer_of, is_compute, result.trace.end.tolist())
    return {
        index: _device_report(_device_info(program, index), work[index], charges.get(index), program.config, rate)
        for index in work
    }


def _engine(isa: InstructionSet, instructions: bytes, index: int) -> Engine:
    return isa.by_opcode[instructions[index * isa.instruction_bytes] & ((1 << OPCODE_BITS) - 1)].engine


def _host_report(info: LayerInfo, native: frozenset[str]) -> LayerReport:
    note = f"{info.note}; by the CPU target" if info.name in native else info.note
    return LayerReport(info.name, info.kind, "host", note=note)


def _device_report(info: LayerInfo, work: Work, cycles: int | None, config: Config, rate: float) -> LayerReport:
    utilization = info.macs / (config.macs_per_cycle * cycles) if cycles else None
    bound = bound_of(work, cycles, rate) if cycles else ""
    return LayerReport(info.name, info.kind, "device", info.macs, cycles, utilization, work, bound, info.note)


def _added(launches: Sequence[LaunchResult]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for result in launches:
        for name, value in result.counters.items():
            totals[name] = totals.get(name, 0) + value
    return totals


@dataclass
class _Stopwatch:
    """A simulator that adds up how long its launches take."""

    simulator: Simulator
    seconds: float = 0.0

    @property
    def isa(self) -> InstructionSet:
        return self.simulator.isa

    def launch(self, dram: NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        start = time.perf_counter()
        result = self.simulator.launch(dram, offset, count)
        self.seconds += time.perf_counter() - start
        return result


def execute(
    program: Program, inputs: Mapping[str, NDArray[Any]], simulator: Simulator, host: NativeHost | None = None
) -> tuple[dict[str, NDArray[Any]], Report, tuple[LaunchResult, ...]]:
    """Run a program, its host steps by the reference unless there is a host; give outputs, report, and launches."""
    from tilewright.sim.runner import run

    watch = _Stopwatch(simulator)
    start = time.perf_counter()
    result = run(program, inputs, watch, host)
    elapsed = time.perf_counter() - start
    seconds = {"device": watch.seconds, "host": elapsed - watch.seconds}
    native = frozenset(host.native if host is not None else ())
    return dict(result.outputs), account(program, simulator, result.launches, seconds, native), result.launches
