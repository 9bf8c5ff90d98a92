"""The pages build without a warning, and the tutorial's commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tilewright.cli import cli

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


def commands_of(page: Path) -> list[str]:
    """Give the command lines of a page: in blocks for a shell, and in tables."""
    text = page.read_text()
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.S | re.M) for line in block.splitlines()]
    lines += re.findall(r"`(tilewright [a-z][^`]*)`", text)
    return [line.partition("  #")[0].replace("\\|", "|").strip() for line in lines if line.startswith("tilewright ")]


PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if commands_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_on_pages_exist(page: Path) -> None:
    """Each names a command, with options and values that it takes."""
    for line in commands_of(page):
        words = shlex.split(re.sub(r"\[.*\]|\.\.\.", "", line))[1:]  # what is in brackets may be left out
        redirected = next((place for place, word in enumerate(words) if word in (">", "|", ";", "&")), len(words))
        parse(words[:redirected], line)


def records(name: str) -> list[dict[str, Any]]:
    data = json.loads((ROOT / "docs" / "bench" / name).read_text())
    return data["records"] if isinstance(data, dict) else data


def value(records: list[dict[str, Any]], case: str, metric: str, on: str = "") -> float:
    """Give the figure of a case, the least where there are several."""
    return min(r["value"] for r in records if (r["case"], r["metric"]) == (case, metric) and r["on"].startswith(on))


def shares_of_peak(records: list[dict[str, Any]]) -> list[float]:
    """Give the percentages of the array's peak of the layers C2 to C11."""
    layers = [r for r in records if re.match(r"C\d", r["case"]) and r["metric"] == "utilization"]
    return [r["value"] for r in layers]


def test_the_readmes_figures_are_of_records() -> None:
    _, _, readme = (ROOT / "README.md").read_text().partition("## Measured\n")
    rows = [line for line in readme.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if not re.search(r"\| `(tilewright|pytest) [^`]+` \|$", row)] == []

    accelerator = records("accelerator_fast.json")
    shares = shares_of_peak(accelerator)
    assert len(shares) == 10
    assert f"{min(shares):.0f} to {max(shares):.1f} % of the array's peak" in rows[0]
    millions = [value(accelerator, case, "cycles") / 1e6 for case in ("resnet18", "mobilenet_v2", "minilm_l3")]
    assert ", ".join(f"{number:.2f} M" for number in millions) in rows[1]

    cpu = records("cpu_epyc_zen4.json")
    cases = {r["case"] for r in cpu if r["metric"] == "cpu_milliseconds" and not re.search("fp32|bf16", r["case"])}
    metric = "cpu_milliseconds"
    ratios = [
        min(value(cpu, case, metric, "onnxruntime"), value(cpu, case, metric, "openvino"))
        / value(cpu, case, metric, "tilewright")
        for case in cases
    ]
    assert any(f"{min(ratios):.2f} to {max(ratios):.1f} times as fast" in row for row in rows)
    one_picture = value(records("gpu_h200.json"), "resnet18_b1", "milliseconds")
    assert any(f"{one_picture:.3f} ms" in row for row in rows)


def test_the_comparison_is_dated_and_of_records() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text()
    assert re.search(r"^As of \w+ \d{4}\.", page, re.M)
    assert [name for name in ("VTA", "Gemmini", "FINN", "hls4ml", "ZigZag") if f"[{name}" not in page] == []
    accelerator = records("accelerator_fast.json")
    shares = shares_of_peak(accelerator)
    assert f"| Tilewright, `fast` | {' | '.join(f'{share:.1f}' for share in shares)} |" in page


def test_the_walk_through_shows_what_is_compiled(tmp_path: Path) -> None:
    """Instructions, figures and the layer's cycles on the page are the compiler's and the cycle model's."""
    page = (ROOT / "docs" / "compiler.md").read_text()
    model = ROOT / "src" / "tilewright" / "data" / "default_resnet8_int8.onnx"
    (tmp_path / "script").write_text("break stack1_conv1\ncontinue\nlist 60\n")
    common = [str(model), "--config", "8x8", "--quiet", "--json", "-"]
    debugged = CliRunner().invoke(cli, ["debug", *common, "--script", str(tmp_path / "script")])
    listed = [line.removeprefix("->").strip() for line in json.loads(debugged.stdout)["commands"][-1]["answer"]]
    shown = re.findall(r"^(?:\d+: )?[A-Z]+(?:_[A-Z]+)? (?:\w+=.*\n(?: +.*\n)*|\.\.\.\n)", page, re.M)
    assert len(shown) == 5
    for text in shown:
        words = text.replace("...", "").split()
        assert any(set(words) <= set(line.split()) for line in listed), text

    run = json.loads(CliRunner().invoke(cli, ["run", *common, "--on", "fast"]).stdout)
    (layer,) = (layer for layer in run["layers"] if layer["name"] == "stack1_conv1")
    assert f"{layer['cycles']:,} cycles, {100 * layer['utilization']:.1f} %" in page.replace("\n", " ")


def parse(words: list[str], line: str) -> None:
    """Read a command line as far as to know that its options and values are right."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tilewright")
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None, line
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if not words:  # only the name of a command, in a sentence
        return
    try:
        command.make_context(command.name, words, parent=context.parent)
    except click.exceptions.Exit:  # of --help
        pass
    except click.MissingParameter:  # a sentence that is about an option
        assert len(words) < 3, line


def test_files_that_pages_name_exist() -> None:
    folders = ("isa", "hw", "compiler", "sim", "fpga", "src", "tests", "tools", "docs", "notebooks", "examples")
    named = rf"`((?:{'|'.join(folders)})/[\w./*-]*)`"
    missing = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(named, page.read_text()):
            module = re.sub(r"\.[A-Za-z_]+$", ".py", name)  # `sim/cross_check.CrossCheck`
            if not list(ROOT.glob(name.rstrip("/"))) and not (ROOT / module).is_file():
                missing.append(f"{page.name}: {name}")
    assert missing == []


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
