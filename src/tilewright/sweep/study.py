"""The study: what has been asked, what came of it, and what to try next, in a journal that survives anything."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, InputError
from tilewright.sweep.area import area_metrics
from tilewright.sweep.evaluation import Outcome
from tilewright.sweep.space import Choice, Space

_JOURNAL, _SPACE_HASH, _TRIALS = "study.journal", "space_hash", "trials"
_RESULT = "result.json"

#: Trials asked for a valid point, before the space counts as (nearly) empty.
_MOST_SKIPPED_IN_A_ROW = 10_000


@dataclass(frozen=True)
class Point:
    """One point of a study.

    Attributes
    ----------
    number : int
        Of the trial.
    chosen : mapping of str to value
        Of the parameters.
    state : str
        `pending`, `done`, `failed` or `skipped` (no valid configuration).
    metrics : mapping of str to float
        By the names in `METRICS`, when done.
    reason : str
        When failed or skipped.
    """

    number: int
    chosen: Mapping[str, Choice]
    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class Study:
    """A study in a folder; opening the folder again goes on with it.

    Parameters
    ----------
    folder : Path
        Made when needed.
    space : Space

    Raises
    ------
    InputError
        If the folder holds a study of another space, or cannot be written.
    """

    def __init__(self, folder: Path, space: Space):
        self.folder = folder
        self.space = space
        try:
            (folder / _TRIALS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the study's folder `{folder}`: {error.strerror or error}") from None
        self._study = _open(folder, space)
        self._grid = _grid_order(space) if space.search.sampler == "grid" else None

    @cached_property
    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        return {
            path: optuna.distributions.IntDistribution(0, len(values) - 1)
            for path, values in self.space.parameters.items()
        }

    def points(self) -> list[Point]:
        """Return all points, in the order in which they were chosen."""
        return [self._point(trial) for trial in self._study.get_trials(deepcopy=False)]

    def pending(self) -> list[Point]:
        """Return the points that wait for their result."""
        return [point for point in self.points() if point.state == "pending"]

    @property
    def is_exhausted(self) -> bool:
        """Whether every point of a grid has been chosen."""
        return self._grid is not None and len(self._study.get_trials(deepcopy=False)) >= len(self._grid)

    def ask(self) -> Point | None:
        """Choose a valid point; those that are none are kept as skipped, with the reason.

        Returns
        -------
        Point or None
            None when a grid is exhausted.

        Raises
        ------
        ConfigError
            When no valid point is found.
        """
        for _ in range(_MOST_SKIPPED_IN_A_ROW):
            if self.is_exhausted:
                return None
            point = self._point(self._choose())
            try:
                config = self.space.config(point.chosen)
            except ConfigError as error:
                self._fail(point.number, str(error), is_skipped=True)
                continue
            path = self.trial_folder(point.number)
            path.mkdir(exist_ok=True)
            (path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
            return point
        raise ConfigError(
            f"search space `{self.space.name}`: {_MOST_SKIPPED_IN_A_ROW} points in a row were no valid configuration"
        )

    def _choose(self) -> FrozenTrial:
        number = len(self._study.get_trials(deepcopy=False))
        if self._grid is not None and number < len(self._grid):
            places = np.unravel_index(self._grid[number], [len(v) for v in self.space.parameters.values()])
            self._study.enqueue_trial(dict(zip(self.space.parameters, map(int, places), strict=True)))
        self._study.sampler = _sampler(self.space, number)
        trial = self._study.ask(self._distributions)
        return self._study.get_trials(deepcopy=False)[trial.number]

    def tell(self, number: int, outcome: Outcome) -> Point:
        """Keep the result of a point."""
        if outcome.reason:
            return self._fail(number, outcome.reason)
        point = self._point(self._trial(number))
        metrics = {**outcome.metrics, **self.static_metrics(self.space.config(point.chosen))}
        metrics["cycles_luts"] = metrics["cycles"] * metrics["luts"]
        values = [float(metrics[name]) for name in self.space.objectives]
        data = json.dumps({"metrics": metrics, "models": outcome.models}, indent=1)
        (self.trial_folder(number) / _RESULT).write_text(data, encoding="utf-8")
        self._attributes(number, metrics=metrics)
        self._study.tell(number, values)
        return self._point(self._trial(number))

    def static_metrics(self, config: Config) -> dict[str, float]:
        """Return the metrics that follow from the configuration alone."""
        memory = config.memory
        return {
            **area_metrics(config),
            "memory": memory.act_kib + memory.wgt_kib + memory.acc_kib,
        }

    def result(self, number: int) -> dict[str, Any]:
        """Return what a point gave model by model and layer by layer: `metrics` and `models`."""
        data: dict[str, Any] = json.loads((self.trial_folder(number) / _RESULT).read_text(encoding="utf-8"))
        return data

    def trial_folder(self, number: int) -> Path:
        """Return the folder of a point."""
        return self.folder / _TRIALS / f"{number:05}"

    def _fail(self, number: int, reason: str, is_skipped: bool = False) -> Point:
        self._attributes(number, reason=reason, is_skipped=is_skipped)
        self._study.tell(number, state=TrialState.FAIL)
        return self._point(self._trial(number))

    def _attributes(self, number: int, **values: Any) -> None:
        trial = Trial(self._study, self._trial(number)._trial_id)
        for name, value in values.items():
            trial.set_user_attr(name, value)

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _point(self, trial: FrozenTrial) -> Point:
        chosen = {path: values[int(trial.params[path])] for path, values in self.space.parameters.items()
                  if path in trial.params}  # fmt: skip
        attributes = trial.user_attrs
        state = {TrialState.COMPLETE: "done", TrialState.FAIL: "failed"}.get(trial.state, "pending")
        if attributes.get("is_skipped"):
            state = "skipped"
        return Point(trial.number, chosen, state, attributes.get("metrics", {}), attributes.get("reason", ""))


def _open(folder: Path, space: Space) -> optuna.Study:
    logging.getLogger("optuna").setLevel(logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(folder / _JOURNAL)))
        study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            directions=["minimize"] * len(space.objectives),
            load_if_exists=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"`{folder / _JOURNAL}` is no journal of a study: {error}") from None
    known = study.user_attrs.get(_SPACE_HASH)
    if known is None:
        study.set_user_attr(_SPACE_HASH, space.hash)
        study.set_user_attr("space", {"name": space.name, **asdict(space.search)})
    elif known != space.hash:
        raise InputError(
            f"`{folder}` holds a study of another search space ({known}, not {space.hash}): choose another folder"
        )
    return study


def _grid_order(space: Space) -> Sequence[int]:
    """Return all points of the grid in a seeded random order, so that a part of them covers the space."""
    order: Sequence[int] = np.random.default_rng(space.search.seed).permutation(space.size).tolist()
    return order


def _sampler(space: Space, number: int) -> BaseSampler:
    """Return the sampler for one trial: seeded by its number, so that a study that goes on goes on alike."""
    seed = int(np.random.SeedSequence((space.search.seed, number)).generate_state(1)[0])
    match space.search.sampler:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=space.search.batch)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=space.search.batch)
        case "qmc":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return QMCSampler(scramble=True, seed=space.search.seed, warn_independent_sampling=False)
        case _:
            return RandomSampler(seed=seed)
