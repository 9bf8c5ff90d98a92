"""Ruff and mypy are tests, so that one command says whether a change may land."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("tool", [("ruff", "check", "."), ("mypy",)], ids=["ruff", "mypy"])
def test_checker_finds_nothing(repository: Path, tool: tuple[str, ...]) -> None:
    result = subprocess.run([sys.executable, "-m", *tool], cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_refuses_bare_folder_names() -> None:
    code = "import isa\nfrom hw import top\n\nprint(isa, top)\n"
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--output-format", "concise", "-"],
        input=code,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(re.findall("TID251", result.stdout)) == 2


ALLOWED = {
    "isa": {"isa"},
    "hw": {"isa", "hw"},
    "compiler": {"isa", "compiler"},
    "sim": {"isa", "hw", "compiler", "sim"},
    "fpga": {"isa", "hw", "fpga"},
}


@pytest.mark.parametrize("target", ["accelerator", "cpu", "gpu"])
def test_targets_share_by_what_is_common_to_them(repository: Path, target: str) -> None:
    """No target imports another: what two need is in `kernels`, and `kernels` imports none of them."""
    for folder in sorted({"accelerator", "cpu", "gpu", "kernels"} - {target}):
        files = sorted((repository / "compiler" / "targets" / folder).rglob("*.py"))
        assert files
        wrong = [path.name for path in files if f"compiler.targets.{target}" in path.read_text()]
        assert wrong == []


@pytest.mark.parametrize("floor", sorted(ALLOWED))
def test_imports_run_one_way(repository: Path, floor: str) -> None:
    """No folder imports one above it, and none imports the face."""
    pattern = re.compile(r"^\s*(?:from|import)\s+tilewright(?:\.(\w+))?", re.M)
    files = sorted((repository / floor).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(repository)}: {match.group(0).strip()}"
        for path in files
        for match in pattern.finditer(path.read_text())
        if match.group(1) not in ALLOWED[floor]
    ]
    assert wrong == []
