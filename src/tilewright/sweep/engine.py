"""The sweep itself: choose a batch of points, have them evaluated, keep the results, until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tilewright.sweep.evaluation import Outcome, Task
from tilewright.sweep.executor import Executor
from tilewright.sweep.study import Point, Study


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes
    ----------
    done, failed, skipped : int
        Points with a result, without one for a reason, and those that are no valid configuration.
    total : int
        Points with or without a result that are asked for.
    """

    done: int
    failed: int
    skipped: int
    total: int

    def after(self, point: Point) -> Progress:
        """Count one more point."""
        return replace(self, **{point.state: getattr(self, point.state) + 1})


Report = Callable[[Progress, Point], None]


def run(study: Study, executor: Executor, cache: Path, report: Report | None = None) -> None:
    """Go on with a study until it has the points that its space asks for.

    A batch is chosen before any of its results is kept, and its results are kept in its order: so the points do not
    depend on how many workers there are, nor on where a sweep was interrupted.

    Parameters
    ----------
    study : Study
    executor : Executor
    cache : Path
        Folder of results.
    report : Callable, optional
        Told about progress after every point that is kept.
    """
    while batch := _next_batch(study):
        progress = progress_of(study)
        outcomes: dict[int, Outcome] = {}
        kept = 0
        for index, outcome in executor.run([_task(study, point, cache) for point in batch]):
            outcomes[index] = outcome
            while kept in outcomes:
                point = study.tell(batch[kept].number, outcomes[kept])
                kept += 1
                progress = progress.after(point)
                if report is not None:
                    report(progress, point)


def progress_of(study: Study) -> Progress:
    """Count the points of a study."""
    points, search = study.points(), study.space.search
    done, failed, skipped = (sum(p.state == state for p in points) for state in ("done", "failed", "skipped"))
    total = min(search.trials, study.space.size) if search.sampler == "grid" else search.trials
    return Progress(done, failed, skipped, total)


def _next_batch(study: Study) -> list[Point]:
    """Return the points to evaluate next: the rest of a batch that was interrupted, or new ones."""
    points = study.points()
    pending = [point for point in points if point.state == "pending"]
    told = sum(point.state in ("done", "failed") for point in points)
    search = study.space.search
    in_batch = told % search.batch
    if in_batch and pending:  # results of this batch have been kept already, so all of it has been chosen
        return pending
    wanted = min(search.batch - in_batch, search.trials - told)
    while len(pending) < wanted:
        point = study.ask()
        if point is None:
            break
        pending.append(point)
    return pending


def _task(study: Study, point: Point, cache: Path) -> Task:
    return Task(study.space.config(point.chosen), study.space.models, study.space.memory, cache)
