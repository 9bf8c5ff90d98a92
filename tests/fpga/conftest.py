"""Programs that stand in for tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Give a function that puts a program on the PATH, which runs some Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(tool: str, code: str) -> None:
        program = folder / tool
        program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{code}\n")
        program.chmod(0o755)

    yield make
