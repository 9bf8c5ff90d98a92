"""`tilewright tune`: what it measures is kept, is gone on with, and is used by the compiler."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from tests.compiler.quantized_models import ModelBuilder
from tilewright import cpu
from tilewright.cli import cli
from tilewright.compiler.targets.cpu.levels import host_levels
from tilewright.compiler.targets.cpu.schedule import Schedule
from tilewright.compiler.targets.cpu.schedules import by_model
from tilewright.compiler.targets.cpu.search import Step
from tilewright.cpu import compile_for_cpu, random_inputs
from tilewright.cpu_schedules import Tuning, TuningCache
from tilewright.cpu_tuning import Tuned, tune
from tilewright.isa.errors import ConfigError, ModelError

LEVEL = host_levels()[0].name


@pytest.fixture
def path(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Give the file of a model of one convolution."""
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 16, 12, 12)), builder.weight((64, 16, 3, 3), 0)
    result = builder.quantize(builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)]))
    onnx.save(builder.model([result.name]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, and its folder of schedules."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tilewright" / "schedules"


class Clock:
    """Stands in for the processor's: what is measured first, the usual schedule, takes twice as long as any other."""

    def __init__(self) -> None:
        self.usual: dict[str, Schedule | None] = {}

    def __call__(self, step: Step) -> float:
        return 2.0 if self.usual.setdefault(step.problem, step.schedule) == step.schedule else 1.0


def _tuned(path: Path, rounds: int = 1) -> Tuned:
    return tune(path, 1e-9 if rounds == 1 else 1e9, timer=Clock())


def test_compiler_uses_what_was_found(path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    used: list[Schedule] = []
    lower = cpu.lower

    def recorded(graph: object, level: object, choose: object) -> object:
        program = lower(graph, level, choose)  # type: ignore[arg-type]
        used.extend(source.schedule for s in program.segments for source in s.sources if hasattr(source, "schedule"))
        return program

    monkeypatch.setattr(cpu, "lower", recorded)
    compile_for_cpu(path)
    (usual,) = used
    tuned = _tuned(path)
    (chosen,) = tuned.found.chosen.values()
    assert chosen != usual and [by_model(problem) for problem in tuned.problems.values()] == [usual]
    used.clear()
    for _ in range(2):
        model = compile_for_cpu(path)
        inputs = random_inputs(model.graph, rng)
        assert not any(model.count_differences(inputs, model.run(inputs).outputs).values())
    assert used == [chosen], "the schedules were not used, or the model was not kept"


def test_other_levels_know_nothing_of_it(path: Path) -> None:
    _tuned(path)
    assert TuningCache.default().read(LEVEL).chosen
    assert TuningCache.default().read("portable") == Tuning()


def test_interrupted_search_goes_on(path: Path) -> None:
    def interrupt(what: str, seconds: float, most: float) -> None:
        if what.startswith("round 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(path, 1e9, progress=interrupt, timer=Clock())
    known = TuningCache.default().read(LEVEL)
    ((name, tried),) = known.trials.items()
    assert len(tried) == 2 and not known.chosen
    tuned = _tuned(path)
    assert tuned.rounds == 1 and not tuned.is_complete
    after = TuningCache.default().read(LEVEL)
    assert len(after.trials[name]) == 3, "what was measured was measured again"
    assert tried.items() <= after.trials[name].items() and after.chosen


def test_search_ends_when_nothing_is_left(path: Path) -> None:
    tuned = _tuned(path, rounds=100)
    assert tuned.is_complete and tuned.rounds > 3
    again = _tuned(path, rounds=100)
    assert again.is_complete and again.rounds == 0 and again.found.chosen == tuned.found.chosen


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": "schedules 1"}', '{"format": "schedules 0", "problems": {}}',
     '{"format": "schedules 1", "problems": {"a": {"chosen": {"rows": "x"}, "trials": []}}}'],
)  # fmt: skip
def test_damaged_file_counts_as_none(text: str, path: Path, folder: Path) -> None:
    cache = TuningCache.default()
    folder.mkdir(parents=True)
    cache.path(LEVEL).write_text(text)
    assert cache.read(LEVEL) == Tuning()
    assert _tuned(path).rounds == 1
    assert cache.read(LEVEL).chosen


def test_two_searches_keep_both_findings(folder: Path) -> None:
    cache, schedule = TuningCache.default(), Schedule(3, 2, True, 8)
    cache.write(LEVEL, Tuning({"a": {schedule: 0.5}}, {"a": schedule}))
    cache.write(LEVEL, Tuning({"b": {schedule: 0.7}}, {}))
    assert cache.read(LEVEL) == Tuning({"a": {schedule: 0.5}, "b": {schedule: 0.7}}, {"a": schedule})
    assert [file.suffix for file in folder.iterdir()] == [".json"], "a scratch file was left"


def test_command_reports_what_it_found(path: Path) -> None:
    result = CliRunner().invoke(cli, ["tune", str(path), "--budget", "1s", "--json", "-"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["level"] == LEVEL and data["rounds"] >= 1 and len(data["shapes"]) == 1
    assert data["shapes"][0]["ratio"] <= 1 and 0 < data["milliseconds"] <= data["model_milliseconds"]
    assert "ms of the processor" in result.stderr


@pytest.mark.parametrize("budget", ["0", "0s", "-1", "soon", "1d", "", "5 m"])
def test_bad_budget_is_named(budget: str, path: Path) -> None:
    result = CliRunner().invoke(cli, ["tune", str(path), "--budget", budget])
    assert result.exit_code == 2
    assert f"more than 0, not `{budget}`" in result.output


def test_mistakes_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a budget must be more than 0 seconds, not -1"):
        tune(path, -1)
    with pytest.raises(ConfigError, match="not `sse9`"):
        tune(path, 1, level="sse9")
    builder = ModelBuilder(np.random.default_rng(1))
    x = builder.activation((1, 16, 4, 4))
    onnx.save(
        builder.model([builder.quantize(builder.node("Relu", [builder.dequantize(x)])).name]), tmp_path / "r.onnx"
    )
    with pytest.raises(ModelError, match="no kernel whose schedule can be chosen"):
        tune(tmp_path / "r.onnx", 1)
