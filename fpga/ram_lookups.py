"""Lookup tables behind block RAMs of ECP5, of which one takes the place of two: a RAM's words come late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tilewright.fpga.netlist import Cell, Net, ports_of

_TABLE, _RAM, _INPUTS = "LUT4", "DP16KD", "ABCD"


def merge_ram_lookups(module: Mapping[str, Any]) -> int:
    """Let tables read words of block RAMs themselves, where now a table between chooses; return how many do.

    ABC knows nothing of when a word is there (5.8 ns after the clock), so that it has no reason to. The table between
    stays where something else reads it, too; a table has four inputs afterwards at most.

    Parameters
    ----------
    module : mapping
        A flat module of ECP5's cells as in Yosys's JSON, which is changed.

    Returns
    -------
    int
    """
    cells = module["cells"]
    words = {net for cell in cells.values() if cell["type"] == _RAM for _, net in ports_of(cell, "output")}
    tables = {name: cell for name, cell in cells.items() if cell["type"] == _TABLE}
    first = {t["connections"]["Z"][0]: name for name, t in tables.items() if words.intersection(_read(t))}
    merged = 0
    for table in tables.values():
        for net in first.keys() & set(_read(table)):
            merged += _merge(table, net, tables[first[net]])
    readers = Counter(net for cell in cells.values() for _, net in ports_of(cell, "input"))
    readers.update(net for port in module["ports"].values() for net in port["bits"])
    for net, name in first.items():
        if not readers[net]:
            del cells[name]
    return merged


def _merge(table: Cell, net: Net, inner: Cell) -> bool:
    """Put what `inner` gives at `net` into a table that reads it; return whether four inputs are enough."""
    nets = list(dict.fromkeys(n for n in (*_read(inner), *_read(table)) if n != net and isinstance(n, int)))
    if len(nets) > len(_INPUTS):
        return False
    entries = []
    for index in range(1 << len(_INPUTS)):
        values: dict[Net, int] = {n: index >> i & 1 for i, n in enumerate(nets)}
        entries.append(_value(table, values | {net: _value(inner, values)}))
    table["parameters"]["INIT"] = "".join(map(str, reversed(entries)))
    padded: list[Net] = [*nets, *("0",) * (len(_INPUTS) - len(nets))]
    table["connections"].update({port: [n] for port, n in zip(_INPUTS, padded, strict=True)})
    return True


def _value(table: Cell, values: Mapping[Net, int]) -> int:
    """Return what a table gives for the values of its nets; constants are themselves."""
    index = sum((values[n] if isinstance(n, int) else int(n == "1")) << i for i, n in enumerate(_read(table)))
    return int(table["parameters"]["INIT"][-1 - index])


def _read(table: Cell) -> list[Net]:
    return [table["connections"][port][0] for port in _INPUTS]
