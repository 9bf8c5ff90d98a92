"""Pins for the scan harness, where a flow places no pin by itself: any would do, as no path to them is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class HarnessPins:
    """The harness's ports and the package's pins that they get."""

    clk: str
    rst: str
    load: str
    scan_in: str
    scan_out: str

    def items(self) -> list[tuple[str, str]]:
        """Return ports with their pins."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


#: By device: the clock, switches, buttons and an LED of a board with its package.
HARNESS_PINS: Mapping[str, HarnessPins] = {
    "xc7a35t": HarnessPins("E3", "D9", "A8", "C11", "H5"),
    "xc7a100t": HarnessPins("E3", "D9", "A8", "C11", "H5"),
    "xc7z010": HarnessPins("H16", "D19", "M20", "M19", "R14"),
    "xc7z020": HarnessPins("H16", "D19", "M20", "M19", "R14"),
    "5cseba6": HarnessPins("V11", "AH17", "Y24", "W24", "W15"),
    "5csema5": HarnessPins("AF14", "AA14", "AB12", "AC12", "V16"),
    "5ceba4": HarnessPins("M9", "U7", "U13", "V13", "AA2"),
    "gw2a-18": HarnessPins("H11", "T10", "T3", "T2", "C13"),
}
