"""VTA's ten convolution layers, each alone, from DRAM to DRAM on RTL."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.bench.convolutions import VTA_LAYERS, Convolution, convolution_model
from tilewright.bench.peers import peer_of
from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context
from tilewright.bench.tables import number

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.isa.config import Config
    from tilewright.report import Report

SUITE = "accelerator"
CASES = tuple(layer.name for layer in VTA_LAYERS)
_LAYERS = {layer.name: layer for layer in VTA_LAYERS}


def measure(case: str, context: Context) -> Iterator[Record]:
    """Run one layer on seeded inputs, check every value, and record cycles, utilization and traffic."""
    from tilewright import api
    from tilewright.arrays import random_inputs

    layer, config = _LAYERS[case], context.config
    compiled = api.compile(convolution_model(layer, config.gemm.batch), config)
    inputs = random_inputs(compiled.inputs, zlib.crc32(case.encode()))
    context.progress("running", 0, 1)
    result = compiled.run(inputs, on=context.simulator("rtl"))
    wrong = sum(compiled.count_differences(inputs, result.outputs).values())
    records = tuple(_records(layer, config, result.report))
    if wrong:
        reason = f"{wrong} of {sum(y.size for y in result.outputs.values())} values differ from the integer reference"
        records = tuple(replace(record, value=None, reason=reason, wrong=wrong) for record in records)
    yield from records


def _records(layer: Convolution, config: Config, report: Report) -> Iterator[Record]:
    cycles, array = report.cycles, array_of(config)
    ideal = layer.macs * config.gemm.batch / config.macs_per_cycle
    bound = max(report.layers, key=lambda entry: entry.cycles or 0).bound or None

    def record(metric: str, value: float | None, unit: str, better: str, ideal: float | None) -> Record:
        peer = peer_of(SUITE, metric, array)
        return Record(
            SUITE, layer.name, array, metric, value, unit, better, ideal, bound=bound, config_hash=config.hash,
            peer=peer.name if peer else None, peer_value=peer.values.get(layer.name) if peer else None,
        )  # fmt: skip

    yield record("cycles", cycles, "cycles", "lower", ideal)
    yield record("utilization", round(100 * ideal / cycles, 2) if cycles else None, "%", "higher", 100)
    yield record("dram_bytes", report.work.read_bytes + report.work.write_bytes, "bytes", "lower", None)


def table(records: list[Record]) -> Table:
    """Give a row to each layer: ours beside the peers'."""
    from rich.table import Table

    table = Table("layer", title=f"on {records[0].config}" if records else None, title_justify="left")
    for head in ("cycles", "ideal", "Gemmini", "utilization", "VTA", "DRAM bytes"):
        table.add_column(head, justify="right")
    table.add_column("bound by")
    for case in dict.fromkeys(record.case for record in records):
        found = {record.metric: record for record in records if record.case == case}
        cycles, share, traffic = found["cycles"], found["utilization"], found["dram_bytes"]
        utilization = f"{share.value:.1f} %" if share.value is not None else "-"
        published = f"{number(share.peer_value)} %" if share.peer_value else ""
        table.add_row(
            case, number(cycles.value) or "-", number(cycles.ideal), number(cycles.peer_value), utilization,
            published, number(traffic.value), cycles.reason or cycles.bound,
        )  # fmt: skip
    return table
