"""Confirmation: what RTL and synthesis gave is kept with the point, and compared with what was said of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tilewright.cli.sweep import command
from tilewright.sweep import confirm as module
from tilewright.sweep.confirm import confirm, confirmation, describe_area
from tilewright.sweep.evaluation import Outcome, Task, evaluate
from tilewright.sweep.space import Space
from tilewright.sweep.study import Study

MODEL = str(files("tilewright") / "data" / "default_resnet8_int8.onnx")
SPACE = f"""
models = ["{MODEL}"]
objectives = ["cycles", "luts"]
[base]
config = "8x8"
[parameters]
"memory.act_kib" = [32, 64]
[search]
trials = 2
sampler = "grid"
"""
SYNTHESIZED = {"luts": 9000, "ffs": 1, "dsps": 100, "rams": 40.0, "family": "xc7", "tool": "a tool", "stage": "synth"}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two points, the one with more memory faster."""
    (tmp_path / "space.toml").write_text(SPACE)
    study = Study(tmp_path, Space.load(tmp_path / "space.toml"))
    while point := study.ask():
        cycles = 100_000 - point.chosen["memory.act_kib"]
        study.tell(point.number, Outcome({MODEL: {"cycles": cycles, "energy": 1.0, "dram_bytes": 1, "layers": []}}))
    return study


def rtl_of(study: Study, error: int = 0) -> Callable[..., dict[str, int]]:
    """Stand in for the RTL, which takes so many cycles more than was said."""

    def run(config: Any, model: str, memory: Any) -> dict[str, int]:
        return {"cycles": 100_000 - config.memory.act_kib + error, "wrong": 0}

    return run


def test_levels_add_up(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_rtl", rtl_of(study))
    monkeypatch.setattr(module, "run_synthesis", lambda config: SYNTHESIZED)
    point = study.points()[0]
    assert confirmation(study, point.number).level == "fast"
    assert confirm(study, point, ["rtl"]).level == "rtl"
    result = confirm(study, point, ["synth"])
    assert (result.level, result.difference, result.wrong) == ("rtl+synth", 0, 0)
    assert "1 points synthesized" in describe_area(study, study.points())


def test_nothing_is_confirmed_twice(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_rtl", rtl_of(study))
    point = study.points()[0]
    first = confirm(study, point, ["rtl"])
    monkeypatch.setattr(module, "run_rtl", lambda *_: pytest.fail("run again"))
    assert confirm(study, point, ["rtl"]) == first


def test_two_at_once_keep_both_results(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    point = study.points()[0]

    def meanwhile(*arguments: Any) -> dict[str, int]:
        confirm(study, point, ["synth"])
        return rtl_of(study)(*arguments)

    monkeypatch.setattr(module, "run_rtl", meanwhile)
    monkeypatch.setattr(module, "run_synthesis", lambda config: SYNTHESIZED)
    assert confirm(study, point, ["rtl"]).level == "rtl+synth"


@pytest.mark.parametrize(("error", "code"), [(0, 0), (1, 1)])
def test_a_difference_is_a_failure(study: Study, monkeypatch: pytest.MonkeyPatch, error: int, code: int) -> None:
    monkeypatch.setattr(module, "run_rtl", rtl_of(study, error))
    chosen = study.points()[1].number
    arguments = ["confirm", str(study.folder), "--level", "rtl", "--point", str(chosen)]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.return_value == code, result.output
    levels = {point.number: confirmation(study, point.number) for point in study.points()}
    assert {number: one.level for number, one in levels.items()} == {chosen: "rtl", 1 - chosen: "fast"}
    assert levels[chosen].difference == error


@pytest.mark.slow
def test_the_rtl_takes_what_was_said(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", Space.from_toml(SPACE))
    point = study.ask()
    assert point is not None
    config = study.space.config(point.chosen)
    study.tell(point.number, evaluate(Task(config, study.space.models, study.space.memory, tmp_path / "cache")))
    result = confirm(study, study.points()[0], ["rtl"])
    assert result.rtl and (result.difference, result.wrong) == (0, 0)
