"""The HTML report, looked at in a real browser: nothing is fetched, nothing fails, and everything is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright
from tilewright.demo import default_model, default_samples
from tilewright.execution import account
from tilewright.html_report import html_report, read_comparison
from tilewright.isa.errors import InputError
from tilewright.isa.instructions import instruction_set
from tilewright.run_data import run_data
from tilewright.sim.accesses import accesses
from tilewright.sim.api import InstructionTrace, LaunchResult
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.trace.stream import streams_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def program() -> tilewright.Compiled:
    return tilewright.compile(default_model(), config="8x8")


@pytest.fixture(scope="module")
def run(program: tilewright.Compiled) -> tilewright.Run:
    """Run on the functional simulator, and give the result times: one instruction after the other."""
    (inputs,), _ = default_samples(1)
    result = program.run(inputs)
    (stream,) = streams_of(program.program)
    counts = accesses(stream.program)
    lasts = counts.steps + (counts.read_bytes + counts.write_bytes) // program.config.bus_bytes + 20
    end = np.cumsum(lasts)
    trace = InstructionTrace(end - lasts + 1, end)
    launches = (LaunchResult(int(end[-1]) + 3, result.launches[0].counters, trace),)
    simulator = FunctionalSimulator(instruction_set(program.config))
    return tilewright.Run(result.outputs, account(program.program, simulator, launches, {}), launches)


@dataclass
class Page:
    """A page as the browser holds it."""

    dom: str
    log: str
    classes: Counter[str] = field(default_factory=Counter)
    rows: list[list[str]] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return re.findall(r".*(?:CONSOLE|Uncaught|ERR_).*", self.log)


class _Reader(HTMLParser):
    """Counts elements by class, and collects the rows of the table of layers."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.table, self.part, self.is_cell = page, "", "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.page.classes.update((values.get("class") or "").split())
        self.page.classes.update([f"series:{values['data-space']}"] if values.get("data-space") else [])
        if tag == "table":
            self.table = values.get("id") or ""
        elif tag in ("thead", "tbody", "tfoot"):
            self.part = tag
        elif tag == "tr" and (self.table, self.part) == ("layers", "tbody"):
            self.page.rows.append([])
        self.is_cell = self.is_cell or tag == "td"
        if tag == "td" and self.page.rows and (self.table, self.part) == ("layers", "tbody"):
            self.page.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.is_cell = self.is_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.is_cell and self.page.rows and (self.table, self.part) == ("layers", "tbody"):
            self.page.rows[-1][-1] += data


def browse(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--enable-logging=stderr", "--virtual-time-budget=4000", "--window-size=1320,2300",
        f"--user-data-dir={path.parent / 'profile'}", *options, path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)


def look(path: Path) -> Page:
    result = browse(path, "--dump-dom")
    page = Page(result.stdout, result.stderr)
    _Reader(page).feed(result.stdout)
    return page


def write_report(
    path: Path, program: tilewright.Compiled, run: tilewright.Run, script: str = "", **options: Any
) -> Path:
    text = html_report(program, run, run_data(program, run), 16.0, 250.0, **options)
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    return path


@needs_browser
def test_report_in_a_browser(tmp_path: Path, program: tilewright.Compiled, run: tilewright.Run) -> None:
    other = json.loads(json.dumps(run_data(program, run)))
    other |= {"simulator": "other", "cycles": 2 * other["cycles"]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    path = write_report(tmp_path / "run.html", program, run, others=[read_comparison(tmp_path / "other.json")])
    page = look(path)
    assert page.problems == []
    layers = run.report.layers
    multiplying = [layer for layer in layers if layer.macs and layer.cycles]
    assert len(multiplying) == 10
    assert page.classes["point"] == len(multiplying)
    assert page.classes["span"] == len([layer for layer in layers if layer.place == "device"])
    assert len(page.rows) == len(layers)
    assert page.classes["host"] == len([layer for layer in layers if layer.place == "host"])
    assert all(page.classes[f"series:{space}"] == 1 for space in ("act", "wgt", "acc", "prm"))
    assert page.classes["stall"] >= 6 and page.classes["joules"] > 50
    assert "×2.00" in page.dom and "other.json" in page.dom
    assert f"{run.report.cycles:,}" in page.dom
    picture = tmp_path / "report.png"
    browse(path, f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 50_000


@needs_browser
def test_table_sorts_and_layers_are_singled_out(
    tmp_path: Path, program: tilewright.Compiled, run: tilewright.Run
) -> None:
    click = "document.querySelector('th[data-key=cycles]').click(); document.querySelector('.point').dispatchEvent("
    script = f"{click}new MouseEvent('click'));"
    page = look(write_report(tmp_path / "run.html", program, run, script))
    assert page.problems == []
    cycles = [int(row[4].replace(",", "")) for row in page.rows if len(row) > 4]
    assert cycles == sorted(cycles, reverse=True) and len(set(cycles)) > 5
    assert page.classes["chosen"] == 3  # its point, its bar over time, its row
    assert 'aria-sort="descending"' in page.dom


@needs_browser
def test_without_cycles_the_report_says_so(tmp_path: Path, program: tilewright.Compiled) -> None:
    (inputs,), _ = default_samples(1)
    page = look(write_report(tmp_path / "run.html", program, program.run(inputs)))
    assert page.problems == []
    assert page.classes["point"] == 0 and len(page.rows) == len(program.layers)
    assert "counts no cycles" in page.dom


@needs_browser
def test_the_browser_would_tell_of_an_error(tmp_path: Path, program: tilewright.Compiled, run: tilewright.Run) -> None:
    page = look(write_report(tmp_path / "run.html", program, run, "undefinedFunction();"))
    assert any("undefinedFunction is not defined" in problem for problem in page.problems)


def test_report_is_self_contained(tmp_path: Path, program: tilewright.Compiled, run: tilewright.Run) -> None:
    text = write_report(tmp_path / "run.html", program, run).read_text()
    urls = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert urls <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|script|img)[^>]+(?:src|href)=(?!\"data:)", text)
    assert "@data@" not in text and "/*style*/" not in text


def test_names_cannot_break_out_of_the_page(program: tilewright.Compiled, run: tilewright.Run) -> None:
    data = run_data(program, run)
    data["model"] = "</script><script>alert(1)</script>"
    text = html_report(program, run, data, 16.0, 250.0)
    assert "<script>alert" not in text and "&lt;/script&gt;" in text


def test_only_runs_can_be_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    with pytest.raises(InputError, match="cannot read `.*other.json`: No such file"):
        read_comparison(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_comparison(path)
    for text in ("[1]", "{}", '{"layers": [3]}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"is not a run written by `tilewright run --json`"):
            read_comparison(path)
    path.write_text('{"model": "m", "seconds_per_run": 0.25, "layers": [{"name": "conv", "cycles": 7, "kind": "x"}]}')
    assert read_comparison(path) == {
        "file": "other.json", "model": "m", "seconds_per_run": 0.25, "layers": [{"name": "conv", "cycles": 7}],
    }  # fmt: skip
