"""What projects for vendors' tools have in common: files, a command, reports."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewright.isa.errors import InputError, ToolchainError

_TIMEOUT_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Project:
    """A project for a vendor's tool.

    Attributes
    ----------
    name : str
    files : mapping of str to str
        Texts by relative path.
    command : tuple of str
        Builds it; runs in its folder.
    """

    name: str
    files: Mapping[str, str]
    command: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write all files.

        Raises
        ------
        InputError
            If a file cannot be written.
        """
        for name, text in self.files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise InputError(f"cannot write `{path}`: {error.strerror}") from None


@dataclass(frozen=True)
class VendorResult:
    """What a vendor's reports say.

    Attributes
    ----------
    tool, version, stage : str
    seed : int or None
    used : mapping of str to (float, float)
        Resources used and available, by the vendor's name.
    slack_ns : float
        The worst of all setup paths.
    fmax_mhz : float
        What the slack makes of the clock that was asked for.
    """

    tool: str
    version: str
    stage: str
    seed: int | None
    used: Mapping[str, tuple[float, float]]
    slack_ns: float
    fmax_mhz: float

    def as_data(self) -> dict[str, Any]:
        """Give everything for JSON."""
        used = {name: {"used": used, "available": available} for name, (used, available) in self.used.items()}
        return {
            "tool": self.tool, "version": self.version, "stage": self.stage, "seed": self.seed, "used": used,
            "slack_ns": self.slack_ns, "fmax_mhz": self.fmax_mhz,
        }  # fmt: skip


def fmax_mhz(clock_mhz: float, slack_ns: float) -> float:
    """Return the frequency at which the slack would be zero."""
    return 1000 / (1000 / clock_mhz - slack_ns)


def run_tool(command: Sequence[str], folder: Path, advice: str) -> None:
    """Run a vendor's tool in a folder; what it prints goes to `tool.log` there.

    Raises
    ------
    ToolchainError
        If it is not on the PATH, or fails.
    """
    program = shutil.which(command[0])
    if program is None:
        raise ToolchainError(f"`{command[0]}` is not on the PATH: {advice}")
    log = folder / "tool.log"
    with log.open("w", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                [program, *command[1:]], cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False,
                timeout=_TIMEOUT_SECONDS,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ToolchainError(f"`{command[0]}` has not ended after {_TIMEOUT_SECONDS} s; see {log}") from None
    if code:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "ERROR" in line]
        raise ToolchainError(f"`{command[0]}` failed: {lines[0].strip() if lines else f'exit code {code}'}; see {log}")
