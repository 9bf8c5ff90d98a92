"""How fast the simulators are, whether `fast` is exact, and both beside the peers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.bench.peers import peers_of
from tilewright.bench.record import Record, array_of
from tilewright.bench.stopwatch import Seconds, TimedSimulator, middle, timed
from tilewright.bench.suites import Context
from tilewright.bench.tables import number
from tilewright.bench.workloads import WORKLOADS
from tilewright.compiler.targets.accelerator.workloads import RESNET18_CONVOLUTIONS
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.api import DramTiming, Simulator

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.api import Compiled
    from tilewright.arrays import Arrays

SUITE = "simulators"

#: `fast` without computing results: only cycles and counters, as sweeps ask for them.
TIMES_ONLY = "fast, cycles only"
SIMULATORS = ("functional", "rtl", "fast", TIMES_ONLY)

CASES = ("build", "digits", "resnet18", "mobilenet_v2", "resnet18_convs")

#: Columns of the table, by metric.
_HEADS = {
    "seconds": "s", "cpu_seconds": "CPU s", "speed": "GMAC/s", "clock": "kHz", "times_rtl": "x RTL",
    "cycles": "cycles", "cycle_error": "cycles of error",
}  # fmt: skip

#: Runs of each simulator, after a first one that is not counted; the RTL has one, uncounted where it is short.
_REPEATS = 5
_SHORT_CYCLES = 1_000_000

#: The accelerator and the memory with which the peers were asked for ResNet-18's convolutions.
PEERS_MEMORY_KIB = {"act_kib": 32, "wgt_kib": 32, "acc_kib": 128}
PEERS_DRAM = DramTiming(bytes_per_cycle=8)


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record one case.

    `build` is the RTL's model, compiled into an empty cache. A network's records have, for each simulator, the medians
    of whole runs in wall and processor seconds (host steps included, building not), and of its launches alone the
    speed per second of the processor; `fast` decodes the program anew in each. `resnet18_convs` has a configuration
    and a memory of its own, and its seconds are those of compiling and of simulating all twenty layers.
    """
    if case == "build":
        yield from _build(context)
    elif case == "resnet18_convs":
        yield from _convolutions(context)
    else:
        yield from _network(case, context)


# ---- building the RTL


def _build(context: Context) -> Iterator[Record]:
    from tilewright.sim.rtl.cache import Cache
    from tilewright.sim.rtl.model import RtlSimulator

    isa = instruction_set(context.config)
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        simulator, seconds = timed(lambda: RtlSimulator(isa, context.dram, cache=cache, progress=context.progress))
        simulator.close()
    yield from _seconds("build", context, "rtl", seconds)


# ---- networks


@dataclass(frozen=True)
class _Speed:
    """A network on one simulator: its launches' cycles, and the times of launches and of whole runs."""

    cycles: int
    launches: Seconds
    runs: Seconds

    @property
    def clock_khz(self) -> float:
        return self.cycles / self.launches.processor / 1e3


def _network(case: str, context: Context) -> Iterator[Record]:
    compiled, inputs = _subject(case, context)
    macs = sum(layer.macs for layer in compiled.layers)
    speeds = {on: _speed(compiled, inputs, on, context) for on in SIMULATORS}
    for on, speed in speeds.items():
        record = partial(_record, case, context, on)
        yield from _seconds(case, context, on, speed.runs)
        if on != TIMES_ONLY:
            yield record("speed", round(macs / speed.launches.processor / 1e9, 4), "GMAC/s", "higher")
        if speed.cycles:
            yield record("clock", round(speed.clock_khz, 1), "kHz", "higher")
    rtl = speeds["rtl"]
    for on in ("fast", TIMES_ONLY):
        record = partial(_record, case, context, on)
        yield record("times_rtl", round(speeds[on].clock_khz / rtl.clock_khz, 1), "x", "higher")
        yield record("cycle_error", abs(speeds[on].cycles - rtl.cycles), "cycles", "lower", ideal=0)


def _subject(case: str, context: Context) -> tuple[Compiled, Arrays]:
    from tilewright import api
    from tilewright.arrays import random_inputs
    from tilewright.demo import default_model, default_samples

    if case == "digits":
        (inputs,), _ = default_samples(1)
        return api.compile(default_model(), context.config), inputs
    source = WORKLOADS[case].source
    assert source is not None
    compiled = api.compile(source(context.config, context.models), context.config)
    return compiled, random_inputs(compiled.inputs, 0)


def _speed(compiled: Compiled, inputs: Arrays, on: str, context: Context) -> _Speed:
    """Run once without counting, unless that takes long, then several times."""
    from tilewright.sim.runner import run

    first = _simulator(on, context)
    launches: list[Seconds] = []
    runs: list[Seconds] = []
    cycles, repeats = 0, _REPEATS + 1
    while len(runs) < repeats:
        context.progress(f"{compiled.name} on {on}", len(runs), repeats)
        simulator = TimedSimulator(first if on in ("functional", "rtl") else _simulator(on, context))
        _, seconds = timed(partial(run, compiled.program, inputs, simulator))
        launches.append(simulator.seconds)
        runs.append(seconds)
        cycles = simulator.cycles
        if on == "rtl" and cycles > _SHORT_CYCLES:
            return _Speed(cycles, *launches, *runs)
    return _Speed(cycles, middle(launches[1:]), middle(runs[1:]))


def _simulator(on: str, context: Context) -> Simulator:
    from tilewright import api
    from tilewright.sim.fast import FastSimulator

    if on == TIMES_ONLY:
        return FastSimulator(instruction_set(context.config), context.dram, compute_results=False)
    if on == "fast":
        return api.simulator(on, context.config, dram=context.dram)
    return context.simulator(on)


# ---- ResNet-18's convolutions beside the peers


def _convolutions(context: Context) -> Iterator[Record]:
    bus = {"data_bits": 8 * PEERS_DRAM.bytes_per_cycle}
    config = Config.load("16x16").with_values(memory=PEERS_MEMORY_KIB, bus=bus)
    own = replace(context, config=config, dram=PEERS_DRAM)
    layers, compiling = timed(lambda: _compiled_layers(own))
    simulators = {on: TimedSimulator(_simulator(on, own)) for on in (TIMES_ONLY, "rtl")}
    for done, (compiled, inputs) in enumerate(layers):
        for on, simulator in simulators.items():
            context.progress(f"{compiled.name} on {on}", done, len(layers))
            result = compiled.run(inputs, on=simulator, host="reference")
            wrong = sum(compiled.count_differences(inputs, result.outputs).values()) if on == "rtl" else 0
            if wrong:
                reason = f"{wrong} values of {compiled.name} differ from the integer reference"
                record = _record("resnet18_convs", own, on, "cycles", None, "cycles", "lower")
                yield replace(record, reason=reason, wrong=wrong)
                return
    cycles = {on: simulator.cycles for on, simulator in simulators.items()}
    for on, simulator in simulators.items():
        ideal = sum(shape.macs * count for shape, count in RESNET18_CONVOLUTIONS) / config.macs_per_cycle
        record = _record("resnet18_convs", own, on, "cycles", cycles[on], "cycles", "lower", ideal=ideal)
        yield from _beside_peers(record)
        yield from _seconds("resnet18_convs", own, on, compiling + simulator.seconds)
    yield _record("resnet18_convs", own, TIMES_ONLY, "compile_cpu_seconds", round(compiling.processor, 3), "s", "lower")
    error = abs(cycles[TIMES_ONLY] - cycles["rtl"])
    yield _record("resnet18_convs", own, TIMES_ONLY, "cycle_error", error, "cycles", "lower", ideal=0)


def _compiled_layers(context: Context) -> list[tuple[Compiled, Arrays]]:
    """Compile all twenty convolutions, those that are there several times so often."""
    names = [shape.name for shape, count in RESNET18_CONVOLUTIONS for _ in range(count)]
    layers = []
    for done, name in enumerate(names):
        context.progress(f"compiling {name}", done, len(names))
        layers.append(_subject(name, context))
    return layers


# ---- records


def _seconds(case: str, context: Context, on: str, seconds: Seconds) -> Iterator[Record]:
    yield from _beside_peers(_record(case, context, on, "seconds", round(seconds.wall, 4), "s", "lower"))
    yield _record(case, context, on, "cpu_seconds", round(seconds.processor, 4), "s", "lower")


def _record(
    case: str, context: Context, on: str, metric: str, value: float | None, unit: str, better: str, *,
    ideal: float | None = None,
) -> Record:  # fmt: skip
    record = Record(
        SUITE, case, array_of(context.config), metric, value, unit, better, ideal,
        config_hash=context.config.hash, on=on,
    )  # fmt: skip
    if on == "functional":
        return record
    memory = context.dram
    return replace(record, latency_cycles=memory.latency_cycles, bytes_per_cycle=memory.bytes_per_cycle)


def _beside_peers(record: Record) -> Iterator[Record]:
    """Give a record of a simulator that counts cycles once for each peer with this figure, or as it is."""
    peers = peers_of(record.suite, record.metric, record.config, record.case)
    if not peers or record.on == "functional":
        yield record
        return
    for peer in peers:
        yield replace(record, peer=peer.name, peer_value=peer.values[record.case])


def table(records: list[Record]) -> Table:
    """Give a row to each case and simulator, and the peers' figures below."""
    from rich.table import Table

    found = {(record.case, record.on, record.metric): record.value for record in records}
    lines = [
        f"{r.case}, {r.metric}: {r.peer} {number(r.peer_value)}, {r.on} {number(r.value)}" for r in records if r.peer
    ]
    lines += [f"{r.case}: {r.reason}" for r in records if r.reason]
    table = Table(caption="\n".join(lines), caption_justify="left")
    for head in ("case", "on"):
        table.add_column(head, no_wrap=True)
    for head in _HEADS.values():
        table.add_column(head, justify="right")
    for case, on in dict.fromkeys((record.case, record.on) for record in records):
        table.add_row(case, on, *(number(found.get((case, on, metric))) for metric in _HEADS))
    return table
