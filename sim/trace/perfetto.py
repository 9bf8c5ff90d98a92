"""Timelines in Perfetto's format: open them at ui.perfetto.dev.

There is a track for the layers, one for each engine's instructions (with the tokens as arrows between them) and one
for what the engine waited for, and counters for queues and bandwidth. Things that overlap lie on several tracks of one
name, which the viewer shows as one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.program import Program
from tilewright.isa.assembly import format_instruction
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import Engine
from tilewright.sim.accesses import Accesses, accesses
from tilewright.sim.api import LaunchResult
from tilewright.sim.trace.series import Series, bandwidth, waiting, windows
from tilewright.sim.trace.stalls import CAUSES, EngineTime, engine_times
from tilewright.sim.trace.stream import TimedStream, short_names, timed_streams

if TYPE_CHECKING:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

#: One cycle is a nanosecond unless another clock is stated.
DEFAULT_CLOCK_MHZ = 1000.0

#: Windows over which bandwidth is averaged.
_WINDOWS, _LEAST_WINDOW_CYCLES = 2000, 32

_SEQUENCE = 1
_ROOT = 1


@dataclass(frozen=True)
class Slice:
    """Something with a name that lasts: begin and end in cycles, facts to show, tokens given and taken."""

    name: str
    begin: int
    end: int
    facts: tuple[tuple[str, str | int], ...] = ()
    flows: tuple[int, ...] = ()
    ending_flows: tuple[int, ...] = ()


def timeline(program: Program, results: Sequence[LaunchResult], clock_mhz: float = DEFAULT_CLOCK_MHZ) -> bytes:
    """Return the timeline of a run as the bytes of a file.

    Parameters
    ----------
    program : Program
    results : sequence of LaunchResult
        Of the launches of a run, in order; launches follow each other without a gap.
    clock_mhz : float
        Of the accelerator: turns cycles into time.

    Raises
    ------
    ProgramError
        If the run has no times.
    ConfigError
        If the clock is not positive.
    """
    return timeline_of(timed_streams(program, results), f"{program.name} on {program.config.name}", clock_mhz)


def timeline_of(launches: Sequence[TimedStream], title: str, clock_mhz: float = DEFAULT_CLOCK_MHZ) -> bytes:
    """Return the timeline of some launches; see `timeline`."""
    if not clock_mhz > 0:
        raise ConfigError(f"the clock must be more than 0 MHz, not {clock_mhz}")
    writer = _Writer(1000.0 / clock_mhz)
    writer.track(_ROOT, f"{title}, {clock_mhz:g} MHz")
    parts = [(timed, accesses(timed.stream.program)) for timed in launches]
    writer.slices("layers", [piece for timed, _ in parts for piece in _layer_slices(timed)])
    stalls = [(timed, engine_times(timed, counts)) for timed, counts in parts]
    for engine in Engine:
        writer.slices(str(engine), [piece for timed, counts in parts for piece in _instructions(timed, counts, engine)])
        waits = [piece for timed, times in stalls for piece in _stalls(timed, times[engine])]
        writer.slices(f"{engine} stalls", waits)
    for engine in Engine:
        series = [(timed.origin, waiting(timed, engine)) for timed, _ in parts]
        writer.counter(f"{engine} queue: instructions waiting, at least", "instructions", series)
    for engine, name in ((Engine.LOAD, "DRAM read"), (Engine.STORE, "DRAM write")):
        series = [(timed.origin, _bandwidth(timed, counts, engine)) for timed, counts in parts]
        writer.counter(name, "bytes/cycle", series)
    data: bytes = writer.trace.SerializeToString()
    return data


def _bandwidth(timed: TimedStream, counts: Accesses, engine: Engine) -> Series:
    return bandwidth(timed, counts, engine, windows(timed.cycles, _WINDOWS, _LEAST_WINDOW_CYCLES))


def _layer_slices(timed: TimedStream) -> list[Slice]:
    """Give each layer from its first start to its last end."""
    names, short, slices = timed.stream.layer_names, short_names(timed.stream.layer_names), []
    for layer in np.unique(timed.stream.layer_of).tolist():
        of = timed.stream.layer_of == layer
        begin, end = int(timed.start[of].min()), int(timed.end[of].max())
        facts = (("layer", names[layer]), ("instructions", int(of.sum())), ("cycles", end - begin))
        slices.append(Slice(short[layer], timed.origin + begin, timed.origin + end, facts))
    return slices


def _instructions(timed: TimedStream, counts: Accesses, engine: Engine) -> list[Slice]:
    stream, slices = timed.stream, []
    given, taken = _flows(timed)
    for position in stream.queues[engine].tolist():
        instruction, values = stream.program.instruction(position)
        facts: list[tuple[str, str | int]] = [
            ("instruction", position),
            ("layer", stream.layer_names[stream.layer_of[position]]),
            ("label", stream.labels[position]),
            ("assembly", format_instruction(instruction, values)),
            ("cycles", int(timed.end[position] - timed.start[position])),
        ]
        for name in ("steps", "macs", "read_bytes", "write_bytes", "read_bursts", "write_bursts"):
            if number := int(getattr(counts, name)[position]):
                facts.append((name, number))
        begin, end = timed.origin + int(timed.start[position]), timed.origin + int(timed.end[position])
        flows, ending = tuple(given.get(position, ())), tuple(taken.get(position, ()))
        slices.append(Slice(stream.titles[position], begin, end, tuple(facts), flows, ending))
    return slices


def _flows(timed: TimedStream) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Number the tokens; return those that each instruction gives, and those that it takes."""
    given: dict[int, list[int]] = {}
    taken: dict[int, list[int]] = {}
    pairs = [(giver, taker) for giver in Engine for taker in giver.others]
    for number, (giver, taker) in enumerate(pairs, start=1):
        gives, takes = timed.stream.token_givers(giver, taker)
        for index, (one, other) in enumerate(zip(gives.tolist(), takes.tolist(), strict=True)):
            flow = (timed.origin + 1 << 24) + index * len(pairs) + number
            given.setdefault(one, []).append(flow)
            taken.setdefault(other, []).append(flow)
    return given, taken


def _stalls(timed: TimedStream, time: EngineTime) -> list[Slice]:
    slices = []
    rows = zip(time.cause.tolist(), time.begin.tolist(), time.end.tolist(), time.position.tolist(), strict=True)
    for cause, begin, end, position in rows:
        if CAUSES[cause] in ("busy", "idle"):
            continue
        facts = (("for", timed.stream.titles[position]),) if position >= 0 else ()
        slices.append(Slice(CAUSES[cause].replace("_", " for "), timed.origin + begin, timed.origin + end, facts))
    return slices


def _lanes(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Deal slices out to as few lanes as there need be for none to overlap."""
    lanes: list[list[Slice]] = []
    free: list[tuple[int, int]] = []
    for piece in sorted(slices, key=lambda s: (s.begin, s.end)):
        if free and free[0][0] <= piece.begin:
            lane = heapq.heappop(free)[1]
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(piece)
        heapq.heappush(free, (piece.end, lane))
    return lanes


class _Writer:
    """Adds packets to a trace, times in nanoseconds."""

    def __init__(self, cycle_ns: float) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

        self.protos, self.cycle_ns = protos, cycle_ns
        self.trace: Trace = protos.Trace()
        self._tracks = _ROOT

    def track(self, uuid: int, name: str, unit: str | None = None) -> None:
        """Describe a track; those with a unit are counters."""
        packet = self.trace.packet.add(trusted_packet_sequence_id=_SEQUENCE)
        if uuid == _ROOT:
            packet.sequence_flags = self.protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        descriptor = packet.track_descriptor
        descriptor.uuid, descriptor.name = uuid, name
        if uuid == _ROOT:
            descriptor.child_ordering = self.protos.TrackDescriptor.EXPLICIT
        else:
            descriptor.parent_uuid, descriptor.sibling_order_rank = _ROOT, uuid
        if unit is not None:
            descriptor.counter.unit_name = unit

    def _new(self, name: str, unit: str | None = None) -> int:
        self._tracks += 1
        self.track(self._tracks, name, unit)
        return self._tracks

    def _time(self, cycle: int) -> int:
        return round(cycle * self.cycle_ns)

    def slices(self, name: str, slices: Iterable[Slice]) -> None:
        """Write a track of slices, with as many lanes as it needs."""
        for lane in _lanes(slices):
            uuid = self._new(name)
            for piece in lane:
                self._begin(uuid, piece)
                packet = self.trace.packet.add(timestamp=self._time(piece.end), trusted_packet_sequence_id=_SEQUENCE)
                packet.track_event.type = self.protos.TrackEvent.TYPE_SLICE_END
                packet.track_event.track_uuid = uuid

    def _begin(self, uuid: int, piece: Slice) -> None:
        packet = self.trace.packet.add(timestamp=self._time(piece.begin), trusted_packet_sequence_id=_SEQUENCE)
        event = packet.track_event
        event.type, event.track_uuid, event.name = self.protos.TrackEvent.TYPE_SLICE_BEGIN, uuid, piece.name
        event.flow_ids.extend(piece.flows)
        event.terminating_flow_ids.extend(piece.ending_flows)
        for name, value in piece.facts:
            annotation = event.debug_annotations.add(name=name)
            if isinstance(value, str):
                annotation.string_value = value
            else:
                annotation.int_value = value

    def counter(self, name: str, unit: str, parts: Iterable[tuple[int, Series]]) -> None:
        """Write a counter track from series, each with its origin; it goes to zero at the end of each."""
        uuid = self._new(name, unit)
        for origin, series in parts:
            last = None
            for time, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
                if value == last:
                    continue
                packet = self.trace.packet.add(
                    timestamp=self._time(origin + time), trusted_packet_sequence_id=_SEQUENCE
                )
                event = packet.track_event
                event.type, event.track_uuid = self.protos.TrackEvent.TYPE_COUNTER, uuid
                event.double_counter_value = last = value
