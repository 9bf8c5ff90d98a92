"""The pages build without a warning, and the tutorial's commands do what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()

#: Takes minutes, and has tests of its own.
SYNTHESIS = "tilewright synth --config 8x8 --target xc7a100t\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)


def test_pages_build(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "--correct-biases" in (tmp_path / "reference" / "cli" / "index.html").read_text()


def test_pages_are_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if page not in navigation} == set()


def test_completion_is_as_documented() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    (line,) = re.findall(r'^eval "\$\(.*\)"$', page, re.M)
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-e", "-c", f"{line}\ncomplete -p tilewright"], capture_output=True, text=True, timeout=120,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(Path.home())},
    )  # fmt: skip
    assert "_tilewright_completion" in done.stdout, done.stderr


def test_release_notes_have_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"].partition(".dev")[0]
    assert (ROOT / "docs" / "releases" / f"{version}.md").read_text().startswith(f"# Release notes {version}\n")


@pytest.mark.slow
@pytest.mark.verilator
def test_timing_diagrams_are_what_the_rtl_does() -> None:
    pytest.importorskip("pywellen", reason="the docs extra is not installed")
    tool = [sys.executable, str(ROOT / "tools" / "draw_timing.py"), "--check"]
    done = subprocess.run(tool, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    for name in ("src", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "arrays.toml").write_text(blocks("toml")[0])
    assert SYNTHESIS in TUTORIAL
    script = "".join(blocks("sh")).replace(SYNTHESIS, "")
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=3000,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(Path.home()), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    figures = re.findall(r"([\d,]+) cycles", TUTORIAL)
    assert [figure for figure in figures if figure not in done.stdout] == []
    assert (tmp_path / "wide.html").stat().st_size > 10_000
    (example,) = blocks("python")
    python = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert f"{int(python.stdout.split()[0]):,}" in figures, python.stderr[-2000:]
