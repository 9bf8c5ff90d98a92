"""Synthesis by Yosys (pyosys): from a configuration to the resources of every module."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewright.fpga.cells import LATCH, cell_resources
from tilewright.fpga.devices import Family, Resources
from tilewright.fpga.hierarchy import ModuleUse, cells_by_module, module_uses, primitives, with_submodules
from tilewright.fpga.memories import collision_commands
from tilewright.fpga.store import Store, content_key
from tilewright.hw.accelerator import Accelerator
from tilewright.hw.elaborate import component_rtlil
from tilewright.isa.errors import TilewrightError, ToolchainError
from tilewright.isa.instructions import InstructionSet

STAGE = "synth-estimate"
TOP = "accelerator"

#: How each family is synthesized. Some of the hierarchy stays (`_kept`): modules that are alike are synthesized once,
#: and the parts can be told apart; across those nothing is optimized, so that the figures err on the high side.
_SCRIPTS: Mapping[str, str] = {
    "xc7": "synth_xilinx -family xc7 -noiopad -noclkbuf",
    "xcup": "synth_xilinx -family xcup -noiopad -noclkbuf",
    "ecp5": "synth_lattice -family ecp5 -noflatten -noiopad",
    "cyclonev": "synth_intel_alm -family cyclonev -noflatten -noiopad -noclkbuf",
    "gw2a": "synth_gowin -family gw2a -noflatten -noiopads",
}

#: Runs a file of Yosys commands in a process of its own: a failed assertion there ends the process.
_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1]).read().splitlines():
    libyosys.Pass.call(design, f"tee -q -a {sys.argv[2]} {line}")
"""

_TIMEOUT_SECONDS = 4 * 3600
_DESIGN, _STATISTICS, _NETLIST = "design.il", "stat.json", "netlist.v"


class SynthesisError(TilewrightError):
    """Synthesis gave something that the design must not become."""


@dataclass(frozen=True)
class Synthesis:
    """What synthesis gave.

    Attributes
    ----------
    tool, version, stage : str
        Where the figures are from.
    total : Resources
    modules : tuple of ModuleUse
        Those that take anything, largest first.
    cells : mapping of str to int
        Primitives of the whole design, by name.
    netlist : Path
        The mapped netlist as Verilog, hierarchical.
    """

    tool: str
    version: str
    stage: str
    total: Resources
    modules: tuple[ModuleUse[Resources], ...]
    cells: Mapping[str, int]
    netlist: Path


def tool_version() -> str:
    """Return the version of Yosys that synthesizes."""
    return importlib.metadata.version("pyosys")


def synthesize(isa: InstructionSet, family: Family, store: Store) -> Synthesis:
    """Synthesize the accelerator for a family; what was synthesized before comes from the store.

    Raises
    ------
    ToolchainError
        If Yosys fails.
    SynthesisError
        If there are latches, or cells that the family's table lacks.
    """
    return synthesize_rtlil(component_rtlil(Accelerator(isa), TOP), TOP, family, store)


def synthesize_rtlil(rtlil: str, top: str, family: Family, store: Store) -> Synthesis:
    """Synthesize a design in Yosys's own language; see `synthesize`."""
    key = content_key((rtlil, *_commands(rtlil, top, family, Path()), tool_version()))
    folder = store.get(key, lambda work: run_yosys(rtlil, _commands(rtlil, top, family, work), work))
    return _read(json.loads((folder / _STATISTICS).read_text()), top, family, folder / _NETLIST)


def synthesis_script(rtlil: str, top: str, family: Family, folder: Path) -> tuple[str, ...]:
    """Return the commands that map the design in `folder` to a family's primitives, its parts kept."""
    return (
        *parts_script(rtlil, top, folder),
        *(f"booth {top}.{name}*/t:$mul" for name in family.soft_multipliers),
        "rename -hide w:*",  # names such as `data[0]` beside `data` clash when ABC's results are taken over
        f"{_SCRIPTS[family.name]} -top {top}",
    )


def parts_script(rtlil: str, top: str, folder: Path) -> tuple[str, ...]:
    """Return the commands that read the design in `folder` and make a module of each of its parts, before mapping."""
    kept = _kept(re.findall(r"^module \\(\S+)$", rtlil, re.M), top)
    return (
        f"read_rtlil {folder / _DESIGN}",
        f"hierarchy -top {top}",
        *((f"setattr -mod -set keep_hierarchy 1 {' '.join(kept)}",) if kept else ()),
        "proc",
        *collision_commands(),
        "flatten",
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr",
    )


def _kept(modules: Iterable[str], top: str) -> list[str]:
    """Choose the modules that stay: the parts, the compute engine's parts, and lanes; each takes seconds to map."""
    core = next((name for name in modules if re.fullmatch(rf"{top}(\.design)?\.compute", name)), f"{top}.compute")
    root = core.rpartition(".")[0]
    part = re.compile(rf"{re.escape(root)}(\.compute)?\.[a-z]\w*")
    lane = re.compile(rf"{re.escape(top)}\.(?!MemoryBank|RoundingShift)[A-Z]\w*")
    return [name for name in modules if part.fullmatch(name) or lane.fullmatch(name)]


def run_yosys(rtlil: str, commands: Sequence[str], folder: Path) -> None:
    """Run commands on a design, which they find in `folder`.

    Raises
    ------
    ToolchainError
        With Yosys's message.
    """
    design = folder / _DESIGN
    design.write_text(rtlil, encoding="utf-8")
    run_commands(commands, folder)
    design.unlink()


def run_commands(commands: Sequence[str], folder: Path) -> None:
    """Run Yosys's commands, with its log in `folder` until it has ended well; see `run_yosys`."""
    script, log = folder / "script.ys", folder / "yosys.log"
    script.write_text("\n".join(commands), encoding="utf-8")
    arguments = [sys.executable, "-c", _RUNNER, str(script), str(log)]
    try:
        code = subprocess.run(arguments, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"Yosys has not finished after {_TIMEOUT_SECONDS} s") from None
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        raise ToolchainError(f"Yosys failed: {lines[-1] if lines else f'exit code {code}'}")
    log.unlink()


def _commands(rtlil: str, top: str, family: Family, folder: Path) -> tuple[str, ...]:
    return (
        *synthesis_script(rtlil, top, family, folder),
        f"tee -q -o {folder / _STATISTICS} stat -json -top {top}",
        f"write_verilog -noattr {folder / _NETLIST}",
    )


def _read(statistics: Mapping[str, Any], top: str, family: Family, netlist: Path) -> Synthesis:
    """Add the modules up, each as often as there are instances of it."""
    modules = cells_by_module(statistics)
    own = {name: _own(cells, modules, family) for name, cells in modules.items()}
    uses = module_uses(modules, own, top, Resources())
    uses.sort(key=lambda use: -use.count * (use.own.lut + use.own.ff))
    total = with_submodules(modules, own, top, Resources())
    return Synthesis("yosys", tool_version(), STAGE, total, tuple(uses), primitives(modules, top), netlist)


def _own(cells: Mapping[str, int], modules: Mapping[str, object], family: Family) -> Resources:
    total = Resources()
    for cell, number in cells.items():
        if cell in modules or cell == "$scopeinfo":  # what a part was flattened from
            continue
        if LATCH.fullmatch(cell):
            raise SynthesisError(f"synthesis for {family.name} made {number} latches ({cell})")
        resources = cell_resources(family.name, cell)
        if resources is None:
            raise SynthesisError(f"synthesis for {family.name} made cells of an unknown kind, {cell}")
        total += resources * number
    return total
