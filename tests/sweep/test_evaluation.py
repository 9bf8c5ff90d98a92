"""One point: the figures are those of an ordinary run, kept by what they depend on."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tilewright import api
from tilewright.arrays import random_inputs
from tilewright.isa.config import PRESETS
from tilewright.sim.api import DramTiming
from tilewright.sweep import evaluation
from tilewright.sweep.evaluation import Task, evaluate
from tilewright.sweep.models import NETWORKS

MODEL = str(files("tilewright") / "data" / "default_resnet8_int8.onnx")
CONFIG = PRESETS["8x8"].with_values(queue={"load": 4}, bus={"reads_in_flight": 4})
MEMORY = DramTiming(latency_cycles=40, bytes_per_cycle=8)


def test_figures_are_those_of_a_run(tmp_path: Path) -> None:
    outcome = evaluate(Task(CONFIG, (MODEL,), MEMORY, tmp_path))
    compiled = api.compile(MODEL, CONFIG)
    report = compiled.run(random_inputs(compiled.inputs, 0), on="fast", dram=MEMORY).report
    result = outcome.models[MODEL]
    device = [layer for layer in report.layers if layer.place == "device"]
    assert outcome.reason == ""
    assert result["cycles"] == report.cycles
    assert [(layer["name"], layer["cycles"]) for layer in result["layers"]] == [(x.name, x.cycles) for x in device]
    assert result["dram_bytes"] == report.work.read_bytes + report.work.write_bytes
    assert outcome.metrics["energy"] == pytest.approx(sum(layer["energy"] for layer in result["layers"]))
    assert set(result["host"]) == {layer.name for layer in report.layers if layer.place == "host"}


def test_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(CONFIG, (MODEL,), MEMORY, tmp_path)
    first = evaluate(task)
    monkeypatch.setattr(evaluation, "_measure", lambda *_: pytest.fail("measured again"))
    assert evaluate(replace(task, config=replace(CONFIG, name="another"))).models == first.models
    with pytest.raises(pytest.fail.Exception):
        evaluate(replace(task, memory=DramTiming()))


def test_a_damaged_result_is_measured_again(tmp_path: Path) -> None:
    task = Task(CONFIG, (MODEL,), MEMORY, tmp_path)
    first = evaluate(task)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert evaluate(task).models == first.models


def test_a_point_without_room_says_why(tmp_path: Path) -> None:
    small = PRESETS["32x32"].with_values(memory={"act_kib": 1, "wgt_kib": 4, "acc_kib": 1})
    outcome = evaluate(Task(small, ("resnet18",), MEMORY, tmp_path))
    assert not outcome.models and outcome.reason


def test_a_point_that_leaves_products_to_the_host_says_which(tmp_path: Path) -> None:
    """Its cycles would say nothing of what the host takes."""
    without_sums = CONFIG.with_values(epilogue={"residual": False})
    outcome = evaluate(Task(without_sums, (MODEL,), MEMORY, tmp_path))
    assert not outcome.models
    assert "layers that multiply are left to the host" in outcome.reason and "epilogue.residual" in outcome.reason


def test_networks_have_the_names_of_the_benchmarks() -> None:
    from tilewright.bench.workloads import WORKLOADS

    assert set(NETWORKS) <= set(WORKLOADS)
