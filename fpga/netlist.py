"""Cells and nets of netlists in Yosys's JSON, which are changed between synthesis and place and route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: A cell: `type`, `parameters`, `port_directions`, and `connections` by port, lists of nets.
Cell = Mapping[str, Any]

#: A net's number, or a constant.
Net = int | str


def ports_of(cell: Cell, direction: str) -> Iterator[tuple[str, Net]]:
    """Yield each port of a direction, `input` or `output`, with the nets at it."""
    for port, nets in cell["connections"].items():
        if cell["port_directions"][port] == direction:
            for net in nets:
                yield port, net
