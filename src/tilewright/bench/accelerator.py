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
    own = context.for_config(workload.config)
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
    yield _record(case, context, "cycles", result.cycles, "cycles", "lower", ideal=ideal, bound=bound, host=host)
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
    table.add_column("case", no_wrap=True)
    for head in ("cycles", "ideal", "peer's", "of peak", "peer's", "DRAM bytes"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("bound by")
    for case in cases:
        cycles = found[case, "cycles"]
        share, traffic = (found.get((case, metric)) for metric in ("utilization", "dram_bytes"))
        label = case if cycles.config == records[0].config else f"{case} ({cycles.config})"
        table.add_row(
            label, number(cycles.value) or "-", number(cycles.ideal), _peers(cycles),
            f"{share.value:.1f} %" if share and share.value is not None else "-", _peers(share, " %"),
            number(traffic.value) if traffic else "", cycles.bound,
        )  # fmt: skip
    return table


def _title(records: list[Record]) -> str | None:
    if not records:
        return None
    first = records[0]
    memory = f"memory of {first.bytes_per_cycle} bytes a cycle, latency {first.latency_cycles} cycles"
    return f"{first.config} on {first.on}, {memory}"


def _peers(record: Record | None, unit: str = "") -> str:
    if record is None or record.peer is None:
        return ""
    return f"{_PEERS.get(record.peer, record.peer)} {number(record.peer_value)}{unit}"
