"""The delay of logic alone, by Yosys's static timing analysis of a mapped netlist.

Wires take no time in it, so it is a lower bound of the clock's period, comparable between designs of one family and
never a frequency. The delays of cells are those of Yosys's models of 7-series cells (`specify` blocks of its
`xilinx/cells_sim.v`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tilewright.fpga.devices import Family
from tilewright.fpga.store import Store, content_key
from tilewright.fpga.synthesis import run_commands, tool_version
from tilewright.isa.errors import ToolchainError

STAGE = "synth-logic-delay"

#: The models of each family whose cells have delays.
_MODELS: Mapping[str, tuple[str, ...]] = {"xc7": ("+/xilinx/cells_sim.v", "+/xilinx/cells_xtra.v")}

_REPORT, _NETLIST = "timing.txt", "netlist.v"
_TOTAL = re.compile(r"^Latest arrival time in '\S+' is (\d+):$", re.M)
_STEP = re.compile(r"^ +(\d+) (\S+) \((\w+)\.(\w+)->\w+\)$", re.M)


@dataclass(frozen=True)
class LogicStep:
    """A cell on a path.

    Attributes
    ----------
    instance, cell : str
    arrival_ns : float
        When its output is valid after the clock's edge.
    """

    instance: str
    cell: str
    arrival_ns: float


@dataclass(frozen=True)
class LogicDelay:
    """The longest path through logic.

    Attributes
    ----------
    ns : float
        From the clock's edge to the last input, without wires and without the last register's set-up time.
    path : tuple of LogicStep
        From the register, memory or multiplier that it starts at.
    """

    ns: float
    path: tuple[LogicStep, ...]

    @property
    def ends(self) -> tuple[str, str]:
        """The parts in which the path starts and ends."""
        return _part(self.path[0].instance), _part(self.path[-1].instance)


def logic_delay(netlist: Path, top: str, family: Family, store: Store) -> LogicDelay | None:
    """Find the longest path of a netlist that `synthesize` wrote; None where the family's cells have no delays.

    Raises
    ------
    ToolchainError
        If Yosys fails, or finds no path.
    """
    models = _MODELS.get(family.name)
    if models is None:
        return None
    text = netlist.read_text(encoding="utf-8")
    key = content_key((text, *_commands(models, top, Path()), tool_version()))

    def make(work: Path) -> None:
        (work / _NETLIST).write_text(text, encoding="utf-8")
        run_commands(_commands(models, top, work), work)
        (work / _NETLIST).unlink()

    return read_report((store.get(key, make) / _REPORT).read_text(encoding="utf-8"))


def read_report(text: str) -> LogicDelay:
    """Read what Yosys's `sta` prints, in picoseconds and from the path's end."""
    total = _TOTAL.search(text)
    steps = [LogicStep(name, cell, int(time) / 1000) for time, name, cell, _ in _STEP.findall(text)]
    if total is None or not steps:
        raise ToolchainError(f"Yosys' timing analysis gives no path: {text.strip()[:200]!r}")
    return LogicDelay(int(total[1]) / 1000, tuple(reversed(steps)))


def _commands(models: tuple[str, ...], top: str, folder: Path) -> tuple[str, ...]:
    # The models come first and into an empty design: those that synthesis leaves behind have lost their delays.
    return (
        *(f"read_verilog -lib -specify {model}" for model in models),
        f"read_verilog {folder / _NETLIST}",
        f"hierarchy -top {top}",
        "flatten",
        f"tee -q -o {folder / _REPORT} sta",
    )


def _part(instance: str) -> str:
    return instance.rpartition(".")[0] or "top"
