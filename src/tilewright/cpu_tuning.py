"""The search for schedules of a model's kernels on this processor, which goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.targets.cpu.schedules import Problem, by_model
from tilewright.compiler.targets.cpu.search import (
    Found,
    Search,
    Timer,
    finalists,
    next_round,
    processor_seconds,
)
from tilewright.cpu import check_precision, level_for, lower_model, operators_of, random_inputs
from tilewright.cpu_schedules import TuningCache, schedule_data
from tilewright.isa.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

#: Told what is being done, the seconds that it has taken, and those that it may take.
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Tuned:
    """What a search gave.

    Attributes
    ----------
    name, level : str
        Of the model, and of the instructions.
    problems : dict of str to Problem
    found : Found
    rounds : int
        In each, one candidate was measured for every problem that had any left.
    is_complete : bool
        Whether nothing is left to try.
    """

    name: str
    level: str
    problems: Mapping[str, Problem]
    found: Found
    rounds: int
    is_complete: bool

    def as_data(self) -> dict[str, Any]:
        """Give it for JSON."""
        shapes = [
            {
                "shape": name, "model": schedule_data(by_model(problem)),
                "chosen": schedule_data(self.found.chosen[name]), "ratio": self.found.ratios[name],
            }
            for name, problem in self.problems.items()
        ]  # fmt: skip
        return {
            "model": self.name, "level": self.level, "rounds": self.rounds, "is_complete": self.is_complete,
            "milliseconds": self.found.seconds * 1e3, "model_milliseconds": self.found.model_seconds * 1e3,
            "shapes": shapes,
        }  # fmt: skip


def tune(
    model: str | Path | ModelProto | Graph, budget_seconds: float, *, level: str | None = None,
    precision: str | None = None, cache: TuningCache | None = None,
    progress: Progress = lambda what, seconds, most: None, timer: Timer = processor_seconds,
) -> Tuned:  # fmt: skip
    """Search for the schedules of a model's kernels on this processor; what is found is used whenever it is compiled.

    A search that is interrupted has kept what it measured, and the next one goes on there.

    Parameters
    ----------
    model : path, ModelProto or Graph
    budget_seconds : float
        How long it may take, about; of one round and the measurement that decides, it takes more.
    level : str, optional
        Instructions to use; by default the best.
    precision : str, optional
        Of a model in floating point, as `compile_for_cpu` has it.
    cache : TuningCache, optional
        Where schedules are kept; by default in the user's cache directory.
    progress : callable
    timer : callable
        Gives the seconds that a launch takes.

    Raises
    ------
    ModelError
        When the model cannot be read or is invalid, or has no kernel with anything to choose.
    ConfigError
        When this processor does not have the level, the budget is not positive, or nothing can be kept.
    """
    if not budget_seconds > 0:
        raise ConfigError(f"a budget must be more than 0 seconds, not {budget_seconds:g}")
    start, chosen, kept = time.perf_counter(), level_for(level, precision), cache or TuningCache.default()
    graph = operators_of(model)
    check_precision(graph, precision)
    inputs = random_inputs(graph, np.random.default_rng(0))
    search = Search(partial(lower_model, graph, chosen), inputs, timer)
    problems = search.problems()
    if not problems:
        raise ModelError(f"`{graph.name}` has no kernel whose schedule can be chosen")
    known, rounds, longest = kept.read(chosen.name), 0, 0.0

    def spent() -> float:
        return time.perf_counter() - start

    progress("compiling", spent(), budget_seconds)
    base = search.load({})
    longest = spent()
    while candidates := next_round(problems, known.trials):
        if rounds and spent() + 2 * longest > budget_seconds:
            break
        began = spent()
        rounds += 1
        progress(f"round {rounds}, {len(candidates)} of {len(problems)} shapes", began, budget_seconds)
        for name, ratio in search.first_times(base, candidates).items():
            known.trials.setdefault(name, {})[candidates[name]] = ratio
        kept.write(chosen.name, known)
        longest = spent() - began
    progress("measuring the fastest again", spent(), budget_seconds)
    found = search.confirm(base, finalists(problems, known.trials))
    known.chosen.update(found.chosen)
    for name in problems:
        known.trials.setdefault(name, {})
    kept.write(chosen.name, known)
    return Tuned(graph.name, chosen.name, problems, found, rounds, not next_round(problems, known.trials))
