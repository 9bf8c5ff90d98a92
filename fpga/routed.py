"""What place and route gave, as nextpnr reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGE = "routed"


@dataclass(frozen=True)
class PathStep:
    """A part of a critical path.

    Attributes
    ----------
    kind : str
        nextpnr's word: `clk-to-q`, `logic`, `routing`, `setup`.
    module : str
        Where it ends, as a path of instances.
    delay_ns : float
    """

    kind: str
    module: str
    delay_ns: float


@dataclass(frozen=True)
class Routed:
    """A routed design.

    Attributes
    ----------
    tool, version, stage : str
    seed : int
    note : str
        What is to be known of figures of this flow; empty where there is nothing.
    fmax_mhz : float
    path : tuple of PathStep
        The critical one.
    used : mapping of str to (int, int)
        Cells used and available, by kind.
    bitstream : Path
    """

    tool: str
    version: str
    stage: str
    seed: int
    note: str
    fmax_mhz: float
    path: tuple[PathStep, ...]
    used: Mapping[str, tuple[int, int]]
    bitstream: Path

    @property
    def delay_by_module(self) -> dict[str, float]:
        """Nanoseconds of the critical path in each module."""
        sums: dict[str, float] = {}
        for step in self.path:
            sums[step.module] = sums.get(step.module, 0.0) + step.delay_ns
        return sums

    def as_data(self) -> dict[str, Any]:
        """Give everything for JSON."""
        return {
            "tool": self.tool,
            "version": self.version,
            "stage": self.stage,
            "seed": self.seed,
            "note": self.note,
            "fmax_mhz": self.fmax_mhz,
            "critical_path_ns": self.delay_by_module,
            "used": {kind: {"used": used, "available": available} for kind, (used, available) in self.used.items()},
        }


def read_report(report: Mapping[str, Any], *, tool: str, version: str, seed: int, note: str, bitstream: Path) -> Routed:
    """Read the report of a version of nextpnr."""
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    paths = [path for path in report["critical_paths"] if path["from"].split()[-1] == path["to"].split()[-1]]
    longest = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    steps = tuple(
        PathStep(step["type"], module_of(step["to"]["cell"]), float(step["delay"])) for step in longest["path"]
    )
    used = {kind: (int(n["used"]), int(n["available"])) for kind, n in report["utilization"].items() if n["used"]}
    return Routed(tool, version, STAGE, seed, note, float(fmax), steps, used, bitstream)


def module_of(cell: str) -> str:
    """Return the instances above a cell: what comes before its own name, which tools make of a net's, or of nothing."""
    return cell.partition("$")[0].rpartition(".")[0]
