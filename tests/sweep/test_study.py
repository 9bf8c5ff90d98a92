"""Studies: the same points whatever interrupts them, on synthetic figures that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tilewright.isa.errors import InputError
from tilewright.sweep.engine import progress_of, run
from tilewright.sweep.evaluation import Outcome, Task
from tilewright.sweep.front import best, front
from tilewright.sweep.space import SAMPLERS, Space
from tilewright.sweep.study import Point, Study

TEXT = """
models = ["resnet18"]
objectives = ["cycles", "memory"]
constraints = ["memory.act_kib <= 16 * memory.wgt_kib"]
[search]
trials = 26
batch = 8
seed = 5
sampler = "{sampler}"
[base]
config = "8x8"
[parameters]
"memory.act_kib" = {{ low = 4, high = 512, factor = 2 }}
"memory.wgt_kib" = {{ low = 4, high = 512, factor = 2 }}
"queue.load" = [4, 8, 16]
"""


class Interrupted(Exception):
    """Stands for whatever stops a sweep."""


class SyntheticExecutor:
    """Evaluates tasks by a formula, each second one before its neighbour, and stops everything after some of them."""

    def __init__(self, evaluations: int = 10**9):
        self.evaluations = evaluations
        self.count = 0

    def __enter__(self) -> SyntheticExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        for index in sorted(range(len(tasks)), key=lambda index: index ^ 1):
            if self.count == self.evaluations:
                raise Interrupted
            self.count += 1
            yield index, figures(tasks[index])


def figures(task: Task) -> Outcome:
    memory = task.config.memory
    if memory.act_kib == 8:
        return Outcome(reason="eight is not a size")
    cycles = 10_000 // memory.act_kib + 7_000 // memory.wgt_kib + task.config.queue.load
    return Outcome({"resnet18": {"cycles": cycles, "energy": 2.0 * cycles, "dram_bytes": 3 * cycles, "layers": []}})


def space(sampler: str) -> Space:
    return Space.from_toml(TEXT.format(sampler=sampler))


def signature(study: Study) -> list[tuple[object, ...]]:
    return [(p.number, tuple(p.chosen.items()), p.state, p.reason, tuple(p.metrics.items())) for p in study.points()]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_do_not_depend_on_interruptions(sampler: str, tmp_path: Path) -> None:
    whole = Study(tmp_path / "whole", space(sampler))
    run(whole, SyntheticExecutor(), tmp_path)
    evaluated = [point for point in whole.points() if point.state in ("done", "failed")]
    assert len(evaluated) == 26
    assert {point.reason for point in evaluated if point.state == "failed"} <= {"eight is not a size"}

    for step in (3, 13):
        folder = tmp_path / f"interrupted{step}"
        while True:
            study = Study(folder, space(sampler))
            try:
                run(study, SyntheticExecutor(step), tmp_path)
                break
            except Interrupted:
                continue
        assert signature(study) == signature(whole), f"interrupted every {step} evaluations"


def test_points_that_are_no_configuration_are_counted_and_not_evaluated(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", space("qmc"))
    executor = SyntheticExecutor()
    run(study, executor, tmp_path)
    skipped = [point for point in study.points() if point.state == "skipped"]
    assert skipped and all("does not hold" in point.reason for point in skipped)
    progress = progress_of(study)
    assert (progress.done + progress.failed, progress.skipped, executor.count) == (26, len(skipped), 26)


def test_a_grid_ends_when_all_of_it_was_visited(tmp_path: Path) -> None:
    small = Space.from_toml(TEXT.format(sampler="grid").replace("high = 512", "high = 8"))
    study = Study(tmp_path / "study", small)
    run(study, SyntheticExecutor(), tmp_path)
    points = [tuple(point.chosen.values()) for point in study.points()]
    assert len(points) == len(set(points)) == small.size == 12


def test_a_study_goes_on_when_more_trials_are_asked_for(tmp_path: Path) -> None:
    first = Study(tmp_path / "study", space("tpe"))
    run(first, SyntheticExecutor(), tmp_path)
    before = signature(first)
    more = Space.from_toml(TEXT.format(sampler="tpe").replace("trials = 26", "trials = 40"))
    second = Study(tmp_path / "study", more)
    run(second, SyntheticExecutor(), tmp_path)
    assert signature(second)[: len(before)] == before
    assert sum(point.state in ("done", "failed") for point in second.points()) == 40


def test_a_folder_of_another_space_is_refused(tmp_path: Path) -> None:
    Study(tmp_path / "study", space("tpe"))
    with pytest.raises(InputError, match="holds a study of another search space"):
        Study(tmp_path / "study", space("nsga2"))


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("no journal\nat all\n")
    with pytest.raises(InputError, match="is no journal of a study"):
        Study(tmp_path, space("tpe"))


def test_front_is_what_nothing_beats(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", space("qmc"))
    run(study, SyntheticExecutor(), tmp_path)
    done = [point for point in study.points() if point.state == "done"]
    found = front(study.points(), study.space.objectives)

    def beats(a: Point, b: Point) -> bool:
        pairs = [(a.metrics[name], b.metrics[name]) for name in study.space.objectives]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    expected = {tuple(b.chosen.items()) for b in done if not any(beats(a, b) for a in done)}
    assert {tuple(point.chosen.items()) for point in found} == expected
    winner = best(study.points(), "cycles")
    assert winner is not None and winner.metrics["cycles"] == min(point.metrics["cycles"] for point in done)
