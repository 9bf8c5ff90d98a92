"""From random points, the default budget finds one that is at least as good as the preset that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.sweep.engine import run
from tilewright.sweep.evaluation import Task, evaluate
from tilewright.sweep.executor import LocalExecutor
from tilewright.sweep.front import best
from tilewright.sweep.space import Search, Space
from tilewright.sweep.study import Study

SPACE = Path(__file__).parents[2] / "examples" / "rediscovery.toml"


@pytest.mark.slow
def test_the_preset_is_found_again(tmp_path: Path) -> None:
    space = Space.load(SPACE)
    assert space.search == Search(), "the budget is the default one"
    study = Study(tmp_path / "study", space)
    with LocalExecutor(2) as executor:
        run(study, executor, tmp_path / "cache")
    preset = evaluate(Task(space.base, space.models, space.memory, tmp_path / "cache"))
    luts = study.static_metrics(space.base)["luts"]
    found = best(study.points(), "cycles_luts")
    assert found is not None
    print(f"point {found.number}: {dict(found.chosen)}, {found.metrics['cycles_luts']:.4g}")
    assert found.metrics["cycles_luts"] <= preset.metrics["cycles"] * luts
