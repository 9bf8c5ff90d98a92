"""The search space: which fields may have which values, and what is wanted of a point."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, repeat, takewhile
from math import prod
from pathlib import Path
from typing import Any

from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, InputError, shown
from tilewright.sim.api import DramTiming
from tilewright.sweep.expressions import Expression
from tilewright.sweep.metrics import METRICS

SAMPLERS = ("grid", "qmc", "tpe", "nsga2")

#: Values of one parameter: more than any field of a configuration can have.
MOST_VALUES = 1 << 16

#: Points of a grid, which are put in a random order all at once.
MOST_POINTS = 10_000_000

Choice = int | bool


@dataclass(frozen=True)
class Search:
    """How the space is searched.

    Attributes
    ----------
    trials : int
        Points to evaluate; those that are no valid configuration do not count.
    sampler : str
        One of `SAMPLERS`.
    seed : int
    batch : int
        Points that are chosen before the results of any of them are known; NSGA-II's population.
    """

    trials: int = 100
    sampler: str = "nsga2"
    seed: int = 0
    batch: int = 40

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"`search.sampler` must be one of {', '.join(SAMPLERS)}, not {shown(self.sampler)}")
        for name, least in (("trials", 1), ("seed", 0), ("batch", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"`search.{name}` must be an integer of at least {least}, not {shown(value)}")


@dataclass(frozen=True)
class Space:
    """A search space, from TOML by `from_toml`.

    Attributes
    ----------
    name : str
    models : tuple of str
        Names of networks (`models.NETWORKS`) or paths of ONNX files; a point is measured with all of them.
    objectives : tuple of str
        Names in `METRICS`; all are made small.
    parameters : mapping of str to tuple
        The values of each field that is searched, in order.
    base : Config
        What no parameter sets.
    derived : mapping of str to Expression
        Fields that follow from others.
    constraints : tuple of Expression
        What must be true of a point.
    search : Search
    memory : DramTiming
    """

    name: str
    models: tuple[str, ...]
    objectives: tuple[str, ...]
    parameters: Mapping[str, tuple[Choice, ...]]
    base: Config = field(default_factory=Config)
    derived: Mapping[str, Expression] = field(default_factory=dict)
    constraints: tuple[Expression, ...] = ()
    search: Search = Search()
    memory: DramTiming = field(default_factory=DramTiming)

    def __post_init__(self) -> None:
        _check_names(self.objectives, METRICS, "objective")
        known = [path for path, _, _ in self.base.describe_fields()]
        _check_names((*self.parameters, *self.derived), known, "field of the configuration")
        for path in self.parameters:
            if path in self.derived:
                raise ConfigError(f"`{path}` cannot be both searched and derived")
        for expression in (*self.derived.values(), *self.constraints):
            _check_names(sorted(expression.names), known, f"field of the configuration (in `{expression.text}`)")
        if not self.models:
            raise ConfigError("`models` must name at least one model")
        if not self.parameters:
            raise ConfigError("`parameters` must name at least one field to search")
        if self.search.sampler == "grid" and self.size > MOST_POINTS:
            raise ConfigError(
                f"a grid must have at most {MOST_POINTS} points, not {self.size}: "
                "the samplers qmc, tpe and nsga2 need no list of them"
            )

    @property
    def size(self) -> int:
        """Points, valid or not."""
        return prod(len(values) for values in self.parameters.values())

    @cached_property
    def hash(self) -> str:
        """Names everything that decides which points are found, but not how many."""
        parts = {
            "models": self.models, "objectives": self.objectives, "parameters": dict(self.parameters),
            "base": self.base.hash, "derived": {path: e.text for path, e in self.derived.items()},
            "constraints": [e.text for e in self.constraints], "memory": repr(self.memory),
            "search": (self.search.sampler, self.search.seed, self.search.batch),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def config(self, chosen: Mapping[str, Choice]) -> Config:
        """Return the configuration of a point.

        Parameters
        ----------
        chosen : mapping of str to value
            A value for each parameter.

        Raises
        ------
        ConfigError
            When it is none: a field out of its range, or a constraint that does not hold.
        """
        values: dict[str, Any] = {path: value for path, _, value in self.base.describe_fields()} | dict(chosen)
        changed = dict(chosen)
        for path, expression in self.derived.items():
            values[path] = changed[path] = _as_field(path, expression, values, self.base)
        for constraint in self.constraints:
            if not constraint.value(values):
                raise ConfigError(f"constraint `{constraint.text}` does not hold")
        sections: dict[str, dict[str, Choice]] = {}
        for path, value in changed.items():
            section, key = path.split(".")
            sections.setdefault(section, {})[key] = value
        config = self.base.with_values(name="point", **sections)
        return config.with_values(name=config.hash[:8])

    @classmethod
    def load(cls, path: str | Path) -> Space:
        """Read a TOML file; see `from_toml`.

        Raises
        ------
        InputError
            When it cannot be read.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot read search space `{path}`: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise InputError(f"search space `{path}` is not UTF-8 text") from None
        return cls.from_toml(text)

    @classmethod
    def from_toml(cls, text: str) -> Space:
        """Build a space from TOML text.

        Raises
        ------
        ConfigError
            For broken TOML, an unknown key, or a value that cannot be.
        """
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"search space is not valid TOML: {error}") from None
        allowed = ("name", "models", "objectives", "constraints", *_SECTIONS)
        _check_names(data, allowed, "key of a search space", "search space: ")
        sections = {name: _table(data, name) for name in _SECTIONS}
        base = _base(sections["base"])
        return cls(
            name=_text(data.get("name", "sweep"), "name"),
            models=_texts(data, "models"),
            objectives=_texts(data, "objectives") or ("cycles",),
            parameters={path: _choices(path, value, base) for path, value in sections["parameters"].items()},
            base=base,
            derived={path: Expression(_text(value, path)) for path, value in sections["derived"].items()},
            constraints=tuple(map(Expression, _texts(data, "constraints"))),
            search=_dataclass(Search, sections["search"], "search"),
            memory=_dataclass(DramTiming, sections["memory"], "memory"),
        )


_SECTIONS = ("search", "base", "memory", "parameters", "derived")


def _base(section: Mapping[str, Any]) -> Config:
    _check_names(section, ("config",), "key of `base`")
    return Config.load(_text(section.get("config", "16x16"), "base.config"))


def _as_field(path: str, expression: Expression, values: Mapping[str, Any], base: Config) -> Choice:
    value = expression.value(values)
    if isinstance(_field_value(base, path), bool):
        return bool(value)
    if value != int(value):
        raise ConfigError(f"`{path}` = `{expression.text}` must be a whole number, not {shown(value)}")
    return int(value)


def _field_value(config: Config, path: str) -> Choice:
    section, key = path.split(".")
    value: Choice = getattr(getattr(config, section), key)
    return value


def _choices(path: str, value: object, base: Config) -> tuple[Choice, ...]:
    if isinstance(value, Mapping):
        return _range(path, value)
    if not isinstance(value, list) or not value or not all(isinstance(v, int) for v in value):
        raise ConfigError(f"`parameters.{path}` must be a list of values or a range, not {shown(value)}")
    if len(set(value)) < len(value):
        raise ConfigError(f"`parameters.{path}` must name each value once, not {shown(value)}")
    return tuple(value)


def _range(path: str, value: Mapping[str, Any]) -> tuple[Choice, ...]:
    _check_names(value, ("low", "high", "step", "factor"), f"key of the range `parameters.{path}`")
    for key, number in value.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise ConfigError(f"`parameters.{path}.{key}` must be an integer, not {shown(number)}")
    low, high, step, factor = (value.get(key) for key in ("low", "high", "step", "factor"))
    if low is None or high is None or low > high:
        raise ConfigError(f"the range `parameters.{path}` must have `low` <= `high`, not {low} and {high}")
    if factor is None:
        if step is not None and step < 1:
            raise ConfigError(f"`parameters.{path}.step` must be at least 1, not {step}")
        count = (high - low) // (step or 1) + 1
        if count > MOST_VALUES:
            raise ConfigError(
                f"the range `parameters.{path}` must have at most {MOST_VALUES} values, not {shown(count)}"
            )
        return tuple(range(low, high + 1, step or 1))
    if step is not None or factor < 2 or low < 1:
        raise ConfigError(f"the range `parameters.{path}` must have a `factor` of at least 2, `low` >= 1 and no `step`")
    return tuple(takewhile(lambda number: number <= high, accumulate(repeat(factor), lambda a, b: a * b, initial=low)))


def _dataclass(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    _check_names(values, kind.__dataclass_fields__, f"key of `{where}`")
    for key, value in values.items():
        default = kind.__dataclass_fields__[key].default
        if type(value) is not type(default):
            raise ConfigError(f"`{where}.{key}` must be of type {type(default).__name__}, not {shown(value)}")
    return kind(**values)


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` must be a section of the search space, not {shown(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"`{where}` must be text, not {shown(value)}")
    return value


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise ConfigError(f"`{key}` must be a list of texts, not {shown(value)}")
    return tuple(value)


def _check_names(names: Any, known: Any, what: str, prefix: str = "") -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{prefix}`{name}` is no {what}; known: {', '.join(known)}")
