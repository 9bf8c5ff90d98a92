"""Timelines are read back by Perfetto's own definitions: tracks, slices, times, arrows, counters. Series, by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from tests.sim.handmade import CYCLES, ISA, LINES, Handmade, Line, box, loops
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import Engine
from tilewright.sim.accesses import accesses
from tilewright.sim.trace.perfetto import timeline_of
from tilewright.sim.trace.series import bandwidth, occupancy, waiting, windows


@dataclass
class Seen:
    """What a file holds, by track name: slices (name, begin, end, facts), counters (time, value), arrows."""

    slices: dict[str, list[tuple[str, int, int, dict[str, str | int]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    counters: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[int, str] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)


def read(data: bytes) -> Seen:
    """Read a file back, and check that slices of a track nest and that every track hangs under the root."""
    names: dict[int, str] = {}
    open_slices: dict[int, list[tuple[str, int, dict[str, str | int]]]] = defaultdict(list)
    seen, roots = Seen(), []
    for packet in Trace.FromString(data).packet:
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            names[descriptor.uuid] = descriptor.name
            if not descriptor.HasField("parent_uuid"):
                roots.append(descriptor.uuid)
            else:
                assert descriptor.parent_uuid == roots[0]
            continue
        event = packet.track_event
        track, stack = names[event.track_uuid], open_slices[event.track_uuid]
        if event.type == TrackEvent.TYPE_COUNTER:
            seen.counters[track].append((packet.timestamp, event.double_counter_value))
        elif event.type == TrackEvent.TYPE_SLICE_BEGIN:
            facts = {a.name: a.string_value or a.int_value for a in event.debug_annotations}
            assert not stack  # lanes: nothing lies within anything on one track
            stack.append((event.name, packet.timestamp, facts))
            seen.starts |= dict.fromkeys(event.flow_ids, event.name)
            seen.ends |= dict.fromkeys(event.terminating_flow_ids, event.name)
        else:
            assert event.type == TrackEvent.TYPE_SLICE_END
            name, begin, facts = stack.pop()
            assert packet.timestamp >= begin
            seen.slices[track].append((name, begin, packet.timestamp, facts))
    assert len(roots) == 1 and not any(open_slices.values())
    return seen


def test_instructions_are_slices_with_their_times() -> None:
    seen = read(timeline_of([Handmade().timed], "two layers"))
    found = {(name, begin, end) for track in Engine for name, begin, end, _ in seen.slices[str(track)]}
    titles = ("conv1 input 1", "conv2 weights 1", "conv1 GEMM 1", "conv1 STORE_ACT 1", "conv2 GEMM 1")
    assert found == {(title, line.start, line.end) for title, line in zip(titles, LINES, strict=True)}
    assert [len(seen.slices[str(engine)]) for engine in Engine] == [2, 2, 1]
    facts = {name: facts for track in Engine for name, _, _, facts in seen.slices[str(track)]}
    assert facts["conv1 GEMM 1"]["steps"] == 20
    assert "fence=1" in str(facts["conv2 GEMM 1"]["assembly"])
    assert {(name, begin, end) for name, begin, end, _ in seen.slices["layers"]} == {
        ("conv1", 5, 110),
        ("conv2", 8, 140),
    }


def test_tokens_are_arrows() -> None:
    seen = read(timeline_of([Handmade().timed], "two layers"))
    arrows = {(seen.starts[flow], seen.ends[flow]) for flow in seen.starts}
    assert seen.starts.keys() == seen.ends.keys()
    assert arrows == {
        ("conv1 input 1", "conv1 GEMM 1"), ("conv2 weights 1", "conv2 GEMM 1"), ("conv1 GEMM 1", "conv1 STORE_ACT 1"),
    }  # fmt: skip


def test_stalls_have_a_track_of_their_own() -> None:
    seen = read(timeline_of([Handmade().timed], "two layers"))
    assert [s[:3] for s in seen.slices["compute stalls"]] == [
        ("wait for load", 0, 41),
        ("fence", 61, 86),
        ("drain", 116, 140),
    ]
    assert seen.slices["store stalls"][0][3] == {"for": "conv1 STORE_ACT 1"}


def test_a_clock_turns_cycles_into_time_and_launches_follow_each_other() -> None:
    timed = Handmade().timed
    later = replace(timed, origin=CYCLES)
    seen = read(timeline_of([timed, later], "twice", clock_mhz=200))
    begins = sorted(begin for name, begin, _, _ in seen.slices["store"])
    assert begins == [5 * 86, 5 * (CYCLES + 86)]
    assert len(seen.starts) == 6  # tokens of the two launches are not mixed up
    assert all(time >= 5 * CYCLES for time, _ in seen.counters["DRAM read"][-2:])
    with pytest.raises(ConfigError, match="the clock must be more than 0 MHz, not -1"):
        timeline_of([timed], "never", clock_mhz=-1)


def test_bandwidth_adds_up_to_the_bytes() -> None:
    timed = Handmade().timed
    counts = accesses(timed.stream.program)
    edges = windows(CYCLES, 50)
    assert edges[0] == 0 and edges[-1] == CYCLES and len(edges) <= 51
    series = bandwidth(timed, counts, Engine.LOAD, edges)
    assert (series.values * np.diff(edges)).sum() == pytest.approx(counts.read_bytes.sum())
    # The first load's bytes come evenly between its start and its end, the second's behind it.
    rate = series.values[np.searchsorted(series.times, 20)]
    assert rate == pytest.approx(8 * ISA.config.row_bytes / 35)
    assert series.values[-1] == 0
    seen = read(timeline_of([timed], "counters"))
    written = [(time, value) for time, value in seen.counters["DRAM write"] if value]
    assert [time for time, _ in written] == [64, 96]  # windows of 32 cycles that the store has a part in
    assert sum(value * 32 for _, value in written) == pytest.approx(5 * ISA.config.row_bytes)


def test_what_must_have_been_dispatched_waits() -> None:
    """The last instruction starts in 86; all before it were dispatched by then, as stream order is dispatch order."""
    series = waiting(Handmade().timed, Engine.STORE)
    assert list(zip(series.times.tolist(), series.values.tolist(), strict=True)) == [(86, 0.0)]
    lines = (
        Line("GEMM", loops(), start=30, end=50),
        Line("GEMM", loops(), start=31, end=60),
        Line("LOAD_ACT", box(1), start=4, end=9),
    )
    series = waiting(Handmade(lines, 60, ("only",)).timed, Engine.COMPUTE)
    assert list(zip(series.times.tolist(), series.values.tolist(), strict=True)) == [(4, 2.0), (30, 1.0), (31, 0.0)]


def test_entries_are_in_use_from_write_to_last_read() -> None:
    config = ISA.config
    lines = (
        Line("LOAD_ACT", box(8), start=0, end=10),
        Line("LOAD_ACT", box(4, base=16), start=0, end=10),  # never read
        Line("GEMM", {**loops(out2=8), "a_out2": 1, "to_acc": 1}, start=10, end=30),
        Line("STORE_ACT", box(6), start=20, end=50),
        Line("LOAD_ACT", box(2), start=40, end=60),  # overwrites while the store still reads
        Line("STORE_ACT", box(1), start=60, end=100),
    )
    used = occupancy(Handmade(lines, 100, ("only",)).timed, np.arange(0, 101, 10))
    rows = used["act"].values * config.act_depth / config.ratio
    assert rows.round(6).tolist() == [8, 8, 8, 6, 4 + 1, 1, 1, 1, 1, 1]
    assert not used["acc"].values.any()  # written, never read


def test_shares_never_exceed_the_scratchpad() -> None:
    """Back to back products on the same accumulators: the next starts before the last has ended."""
    product = {**loops(out2=4), "d_out2": 1, "b_out2": 1, "to_acc": 1, "accumulate": 1}
    lines = tuple(Line("GEMM", product, start=4 * i, end=4 * i + 24) for i in range(6))
    used = occupancy(Handmade(lines, 60, ("only",)).timed, np.arange(0, 61, 2))
    assert used["acc"].values.max() == pytest.approx(4 / ISA.config.acc_depth)
