"""Layers and networks, each alone, from DRAM to DRAM, on the RTL or on the fast simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from tilewright.bench.measurement import Measurement, measured
from tilewright.bench.peers import peer_of
from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context
from tilewright.bench.tables import number
from tilewright.bench.workloads import WORKLOADS
from tilewright.isa.errors import TilewrightError, ToolchainError

if TYPE_CHECKING:
    from rich.table import Table

SUITE = "accelerator"
CASES = tuple(WORKLOADS)

#: Bytes a cycle and cycles of latency with which the peers were measured.
PEERS_MEMORY = (16, 20)

_PEERS = {"vta": "VTA", "gemmini": "Gemmini"}


def measure(case: str, context: Context) -> Iterator[Record]:
    """Run one case on seeded inputs, check every value, and record cycles, utilization and traffic."""
    workload = WORKLOADS[case]
    own = context.for_config(workload.config, workload.is_scaled)
    try:
        result = measured(workload, own)
    except ToolchainError:
        raise  # nothing can be measured, rather than this case
    except TilewrightError as error:
        yield _record(case, own, "cycles", None, "cycles", "lower", reason=str(error))
        return
    records = tuple(_records(case, own, result))
    if result.wrong:
        reason = f"{result.wrong} of {result.values} values differ from the integer reference"
        records = tuple(replace(record, value=None, reason=reason, wrong=result.wrong) for record in records)
    yield from records


def _records(case: str, context: Context, result: Measurement) -> Iterator[Record]:
    bound, host = result.bound, ", ".join(result.host) or None
    ideal, full = ceil(result.ideal_cycles), 100 * result.array_cycles
    utilization, best = round(full / result.cycles, 2), round(full / result.ideal_cycles, 2)
    busy = round(100 * result.busy_cycles / result.cycles, 2)
    cycles = _record(case, context, "cycles", result.cycles, "cycles", "lower", ideal=ideal, bound=bound, host=host)
    yield replace(cycles, bound_percent=busy)
    yield _record(case, context, "utilization", utilization, "%", "higher", ideal=best, bound=bound, host=host)
    yield _record(case, context, "dram_bytes", result.dram_bytes, "bytes", "lower", bound=bound, host=host)


def _record(
    case: str, context: Context, metric: str, value: float | None, unit: str, better: str, *,
    ideal: float | None = None, bound: str | None = None, reason: str | None = None, host: str | None = None,
) -> Record:  # fmt: skip
    array = array_of(context.config)
    memory = context.dram
    is_peers = (memory.bytes_per_cycle, memory.latency_cycles) == PEERS_MEMORY
    peer = peer_of(SUITE, metric, array, case) if is_peers else None
    return Record(
        SUITE, case, array, metric, value, unit, better, ideal, peer.name if peer else None,
        peer.values[case] if peer else None, bound, reason, context.config.hash, on=context.on,
        latency_cycles=memory.latency_cycles, bytes_per_cycle=memory.bytes_per_cycle, host=host,
    )  # fmt: skip


def table(records: list[Record]) -> Table:
    """Give a row to each case: ours beside the peers'."""
    from rich.table import Table

    cases = list(dict.fromkeys(record.case for record in records))
    found = {(record.case, record.metric): record for record in records}
    reasons = [f"{case}: {found[case, 'cycles'].reason}" for case in cases if found[case, "cycles"].reason]
    table = Table(title=_title(records), title_justify="left", caption="\n".join(reasons), caption_justify="left")
    table.add_column("case")
    for head in ("cycles", "ideal", "of ideal", "of peak"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("peer's", justify="right", no_wrap=True)
    table.add_column("bound by", justify="right", no_wrap=True)
    for case in cases:
        cycles, share = found[case, "cycles"], found.get((case, "utilization"))
        table.add_row(
            _label(cycles, records[0]), number(cycles.value) or "-", number(cycles.ideal), _of_ideal(cycles),
            f"{share.value:.1f} %" if share and share.value is not None else "-",
            _peers(cycles, share), _bound(cycles),
        )  # fmt: skip
    return table


def _label(record: Record, first: Record) -> str:
    """Name a case, with what differs from the title's array and memory."""
    words = []
    if record.config != first.config and not record.case.endswith(record.config.removeprefix("1x")):
        words.append(record.config)
    if record.bytes_per_cycle != first.bytes_per_cycle:
        words.append(f"{record.bytes_per_cycle} B/cycle")
    return f"{record.case} ({', '.join(words)})" if words else record.case


def _of_ideal(cycles: Record) -> str:
    return f"{100 * cycles.ideal / cycles.value:.1f} %" if cycles.ideal and cycles.value else ""


def _bound(cycles: Record) -> str:
    return f"{cycles.bound} {cycles.bound_percent:.1f} %" if cycles.bound and cycles.bound_percent else ""


def _title(records: list[Record]) -> str | None:
    if not records:
        return None
    first = records[0]
    memory = f"memory of {first.bytes_per_cycle} bytes a cycle, latency {first.latency_cycles} cycles"
    return f"{first.config} on {first.on}, {memory}"


def _peers(*records: Record | None) -> str:
    """Show the peers' figures, one of each peer."""
    found: dict[str, str] = {}
    for record in records:
        if record is not None and record.peer is not None:
            unit = " %" if record.unit == "%" else ""
            found.setdefault(record.peer, f"{_PEERS.get(record.peer, record.peer)} {number(record.peer_value)}{unit}")
    return ", ".join(found.values())
