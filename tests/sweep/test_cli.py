"""The command, on a real space of small configurations and the model that ships with Tilewright."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tilewright.cli import cli
from tilewright.isa.config import Config
from tilewright.sweep.html_report import main_effects
from tilewright.sweep.study import Point

MODEL = files("tilewright") / "data" / "default_resnet8_int8.onnx"
SPACE = f"""
name = "small"
models = ["{MODEL}"]
objectives = ["cycles", "luts"]
constraints = ["gemm.block_in >= gemm.block_out"]
[search]
trials = 6
batch = 3
sampler = "qmc"
[base]
config = "8x8"
[parameters]
"gemm.block_in" = [8, 16]
"gemm.block_out" = [8, 16]
"memory.wgt_kib" = [16, 64]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space; the user's cache is there, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["sweep", *map(str, arguments)], standalone_mode=True)


def data_of(*arguments: object) -> Any:
    result = invoke(*arguments, "--json", "-", "--quiet")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_sweep_and_all_that_looks_at_it(folder: Path) -> None:
    data = data_of(folder / "space.toml", "--jobs", 1)
    assert data["states"]["done"] == 6 and data["size"] == 8
    assert all("gemm.block_in >= gemm.block_out" in reason for reason in data["reasons"])
    study = folder / "space.sweep"

    fastest = min(data["front"], key=lambda row: row["cycles"])
    toml = invoke("best", study).stdout
    config = Config.from_toml(toml)
    assert (config.gemm.block_in, config.memory.wgt_kib) == (fastest["gemm.block_in"], fastest["memory.wgt_kib"])

    best = data_of("best", study, "--by", "cycles")
    assert (best["number"], best["cycles"], best["by"]) == (fastest["number"], fastest["cycles"], "cycles")
    assert Config.from_toml(best["config"]).hash == best["hash"] == config.hash

    assert data_of("show", study)["front"] == data["front"]
    point = data_of("show", study, "--point", fastest["number"])
    assert point["metrics"]["cycles"] == fastest["cycles"]
    assert sum(layer["cycles"] for layer in point["models"][str(MODEL)]["layers"]) == fastest["cycles"]
    assert data_of("compare", study, fastest["number"])[0]["cycles"] == fastest["cycles"]

    for name in ("points.csv", "points.parquet", "report.html"):
        assert invoke("report", study, "-o", folder / name).exit_code == 0
    assert data_of("report", study, "-o", folder / "points.csv")["states"] == data["states"]
    import pandas

    for table in (pandas.read_csv(folder / "points.csv"), pandas.read_parquet(folder / "points.parquet")):
        assert table[table.state == "done"].cycles.min() == fastest["cycles"]
    page = (folder / "report.html").read_text()
    assert f'id="point-{fastest["number"]}"' in page and f"{fastest['cycles']:,} cycles" in page

    again = data_of(folder / "space.toml", "--trials", 7, "--jobs", 1)
    assert again["evaluated"] == 1, "a study goes on where it stopped"


def test_a_sweep_survives_kill(folder: Path) -> None:
    command = [sys.executable, "-m", "tilewright", "sweep", str(folder / "space.toml"), "--jobs", "1", "-q"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(folder.glob("space.sweep/trials/*/result.json")) and process.poll() is None:
        assert time.monotonic() < deadline, "no result"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(folder.glob("space.sweep/trials/*/result.json")))
    data = data_of(folder / "space.toml", "--jobs", 1)
    assert data["states"]["done"] == 6
    assert data["evaluated"] <= 6 - kept + 1, "a result that was being kept at most is looked up again"
    whole = data_of(folder / "space.toml", "--jobs", 1, "-o", folder / "whole")
    assert whole["front"] == data["front"]


def test_a_study_in_which_all_failed_says_so(folder: Path) -> None:
    (folder / "broken.onnx").write_bytes(b"no model")
    (folder / "broken.toml").write_text(SPACE.replace(str(MODEL), str(folder / "broken.onnx")))
    result = invoke(folder / "broken.toml", "--jobs", 1, "--trials", 2)
    assert result.exit_code == 1, result.output
    assert "all 2 points failed: " in result.output and "(2 times)" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.toml",), "cannot read search space `none.toml`"),
        (("show", "nothing"), "`nothing` is no folder of a sweep: it has no space.toml"),
        (("best", "space.sweep", "--by", "speed"), "--by takes cycles"),
        (("show", "space.sweep", "--point", "99"), "has points 0 to"),
        (("report", "space.sweep", "-o", "points.xlsx"), "a table is written as .csv or .parquet, not `.xlsx`"),
        (("space.toml", "--cluster", "nowhere"), "no Dask scheduler at `nowhere`"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    from tilewright.sweep.space import Space
    from tilewright.sweep.study import Study

    study = Study(folder / "space.sweep", Space.from_toml(SPACE))
    study.ask()
    (folder / "space.sweep" / "space.toml").write_text(SPACE)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_main_effects_name_what_matters() -> None:
    points = [
        Point(i, {"a": a, "b": b}, "done", {"cycles": 10.0**a * (1 + 0.01 * b)})
        for i, (a, b) in enumerate((a, b) for a in (1, 2, 3) for b in (0, 1))
    ]
    shares = main_effects(points, ("a", "b"), "cycles")
    assert shares["a"] > 0.99 and shares["b"] < 0.01
