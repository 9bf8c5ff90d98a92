"""What flows of open tools have in common: programs, a netlist, nextpnr, a bitstream."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilewright.fpga import netlist
from tilewright.fpga.memories import collision_commands
from tilewright.fpga.routed import Routed, read_report
from tilewright.fpga.store import Store, content_key
from tilewright.fpga.synthesis import run_yosys, tool_version
from tilewright.isa.errors import ToolchainError

_TIMEOUT_SECONDS = 4 * 3600
_REPORT, _NETLIST = "report.json", "design.json"


@dataclass(frozen=True)
class Tool:
    """A program, of the system's or of a Python package.

    Attributes
    ----------
    name : str
        Of a program on the PATH, which comes first: those of packages are often WebAssembly and slower.
    advice : str
        How to install it.
    package, script : str
        The Python package and its program; empty where there is none.
    """

    name: str
    advice: str
    package: str = ""
    script: str = ""

    def find(self) -> str:
        """Return the program's path.

        Raises
        ------
        ToolchainError
            If there is none.
        """
        beside = str(Path(sys.executable).parent)
        program = shutil.which(self.name) or (shutil.which(self.script, path=beside) if self.script else None)
        if program is None:
            raise ToolchainError(f"{self.name} is missing: {self.advice}")
        return program

    def version(self) -> str:
        """Return the version of what `find` gives: what it says of itself, or its package's."""
        native = shutil.which(self.name)
        if native is None and self.package:
            return importlib.metadata.version(self.package)
        told = subprocess.run([self.find(), "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"Version (?:nextpnr-)?([^\s)]+)", told.stdout + told.stderr)
        return version[1] if version else "unknown"


@dataclass(frozen=True)
class OpenFlow:
    """How designs get onto a device.

    Attributes
    ----------
    nextpnr : Tool
    arguments : tuple of str
        nextpnr's, without those that it takes for all devices.
    script : Callable
        Yosys's commands between `flatten` and `write_json`, for the top module.
    changes : tuple of Callable
        What is done to the module of the netlist that Yosys wrote.
    files : mapping of str to str
        Constraints, by the name under which `arguments` have them.
    pack : tuple of (Tool, arguments)
        What makes the bitstream of nextpnr's result, one after the other.
    bitstream : str
        The file that is there at the end.
    note : str
        What is to be known of this flow's figures.
    """

    nextpnr: Tool
    arguments: tuple[str, ...]
    script: Callable[[str], tuple[str, ...]]
    pack: tuple[tuple[Tool, tuple[str, ...]], ...]
    bitstream: str
    changes: tuple[Callable[[Mapping[str, Any]], int], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def route(self, rtlil: str, top: str, store: Store, *, seed: int, target_mhz: float) -> Routed:
        """Place and route a design; what was done before comes from the store.

        Raises
        ------
        ToolchainError
            If a tool is missing or fails: a design that does not fit, too.
        """
        programs = {tool: tool.find() for tool in (self.nextpnr, *(tool for tool, _ in self.pack))}
        version = self.nextpnr.version()
        arguments = (
            *self.arguments, "--seed", str(seed), "--freq", f"{target_mhz:g}", "--timing-allow-fail",
            "--json", _NETLIST, "--report", _REPORT,
        )  # fmt: skip

        def make(work: Path) -> None:
            self.make_netlist(rtlil, top, work)
            for name, text in self.files.items():
                (work / name).write_text(text, encoding="utf-8")
            for tool, given in ((self.nextpnr, arguments), *self.pack):
                _call(work, tool.name, programs[tool], given)
            for path in work.iterdir():
                if path.name not in (_REPORT, self.bitstream):
                    path.unlink()

        sources = (inspect.getsource(module) for module in self._modules())
        packed = (word for tool, given in self.pack for word in (tool.name, *given))
        files = (word for item in self.files.items() for word in item)
        commands = _commands(self.script(top), top, Path())
        key = content_key((rtlil, *commands, *sources, *arguments, *packed, *files, tool_version(), version))
        folder = store.get(key, make)
        report = json.loads((folder / _REPORT).read_text())
        bitstream = folder / self.bitstream
        return read_report(
            report, tool=self.nextpnr.name, version=version, seed=seed, note=self.note, bitstream=bitstream
        )

    def make_netlist(self, rtlil: str, top: str, folder: Path) -> Path:
        """Synthesize a design as it is routed: return the netlist in Yosys's JSON, in `folder`.

        Raises
        ------
        ToolchainError
            If Yosys fails.
        """
        run_yosys(rtlil, _commands(self.script(top), top, folder), folder)
        path = folder / _NETLIST
        design = json.loads(path.read_text())
        for change in self.changes:
            change(design["modules"][top])
        path.write_text(json.dumps(design))
        return path

    def _modules(self) -> list[Any]:
        return [netlist, *(inspect.getmodule(change) for change in self.changes)]


def _commands(script: Sequence[str], top: str, folder: Path) -> tuple[str, ...]:
    """Return Yosys's commands: unlike in `synthesis`, nothing is kept apart, which saves a third of the tables."""
    return (
        f"read_rtlil {folder / 'design.il'}",
        f"hierarchy -top {top}",
        "proc",
        *collision_commands(),
        "flatten",
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr",
        *script,
        "delete t:$scopeinfo",
        "opt_clean",
        f"write_json {folder / _NETLIST}",
    )


def _call(folder: Path, name: str, program: str, arguments: Sequence[str]) -> None:
    """Run a tool in a folder: as WebAssembly it sees the files there, and not all others."""
    try:
        result = subprocess.run(
            [program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"{name} has not finished after {_TIMEOUT_SECONDS} s") from None
    if result.returncode:
        raise ToolchainError(f"{name} failed: {_reason(result)}")


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a tool says of its failure: its first error, or what Python's tools end in, an exception."""
    errors = [line for line in (result.stderr + result.stdout).splitlines() if "ERROR" in line]
    last = result.stderr.strip().splitlines()[-1:]
    return (errors or last or [f"exit code {result.returncode}"])[0].strip()
