"""`tilewright synth --liberty`: the accelerator's gates, as tables and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tilewright.cli.terminal import Terminal, read_bytes, write_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.fpga.asic import AsicSynthesis, GateArea
    from tilewright.isa.config import Config

#: Rows of the table of modules.
MODULES_SHOWN = 24

_MEANING = (
    "an estimate of the gates alone: no wires, no clock tree, no memories, not placed; "
    "NAND2 is the area of the library's smallest NAND of two inputs"
)


def count_gates(config: Config, liberty: str, netlist: str | None, terminal: Terminal) -> None:
    """Synthesize a configuration to the cells of a Liberty file and show what it takes."""
    from tilewright.fpga.asic import synthesize_gates
    from tilewright.fpga.liberty import read_library
    from tilewright.isa.instructions import instruction_set
    from tilewright.sim.rtl.cache import Cache, user_cache

    library = read_library(read_bytes(liberty), liberty)
    with terminal.step("synthesizing"):
        found = synthesize_gates(instruction_set(config), library, Cache(user_cache() / "asic"))
    if netlist is not None:
        write_bytes(netlist, found.netlist.read_bytes())
    terminal.write_json(_as_data(config, found))
    terminal.show(f"{config.name} in {found.library}: {found.stage} by {found.tool} {found.version}")
    terminal.show(_summary(found), _modules(found), _MEANING)


def _as_data(config: Config, found: AsicSynthesis) -> dict[str, Any]:
    """Give the figures for JSON; a seed is there where a tool takes one, which synthesis does not."""
    total = found.total
    return {
        "tool": found.tool,
        "version": found.version,
        "stage": found.stage,
        "seed": None,
        "config": config.name,
        "config_hash": config.hash,
        "library": found.library,
        "nand2": {"cell": found.nand2.name, "area": found.nand2.area},
        "total": {
            **asdict(total),
            "combinational_nand2": found.gates(total.combinational),
            "sequential_nand2": found.gates(total.sequential),
            "nand2": found.gates(total.total),
        },
        "modules": [asdict(use) for use in found.modules],
        "cells": dict(found.cells),
        "not_counted": ["wires", "clock tree", "buffers for fan-out", "memories"],
    }


def _summary(found: AsicSynthesis) -> Table:
    from rich.table import Table

    total = found.total
    table = Table("resource")
    for head in ("area", "NAND2", "number"):
        table.add_column(head, justify="right")
    areas = {"combinational": total.combinational, "sequential": total.sequential, "total": total.total}
    for name, area in areas.items():
        table.add_row(name, f"{area:,.0f}", f"{found.gates(area):,.0f}", "")
    table.add_row(f"a {found.nand2.name}", f"{found.nand2.area:,g}", "1", "")
    table.add_row("flip-flops", "", "", f"{total.flip_flops:,}")
    table.add_row("bits of memories, not in the area", "", "", f"{total.memory_bits:,}")
    return table


def _modules(found: AsicSynthesis) -> Table:
    from rich.table import Table

    table = Table("module, without its submodules", title_justify="left")
    for head in ("instances", "NAND2", "combinational", "sequential", "FF", "bits of memories"):
        table.add_column(head, justify="right")
    for use in found.modules[:MODULES_SHOWN]:
        table.add_row(use.name, str(use.count), *_amounts(use.own, found))
    return table


def _amounts(own: GateArea, found: AsicSynthesis) -> list[str]:
    gates = (found.gates(area) for area in (own.total, own.combinational, own.sequential))
    return [*(f"{amount:,.0f}" for amount in gates), f"{own.flip_flops:,}", f"{own.memory_bits:,}"]
