"""Schedules measured on this processor, kept in the user's cache directory.

A file holds what was tried and chosen for each shape of an operator, for one processor, level and version of the
compiler: after an update the search begins anew, since kernels may be others. Schedules never change results.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tilewright.compiler.targets.cpu.schedule import Schedule
from tilewright.compiler.tir.native import Host
from tilewright.compiler.tir.object_cache import ObjectCache, cache_directory
from tilewright.cpu_cache import made_by
from tilewright.isa.errors import ConfigError

_FORMAT = "schedules 1"
_FIELDS = ("rows", "columns", "is_row_major", "unrolled")


@dataclass
class Tuning:
    """What is known of each problem, by its key.

    Attributes
    ----------
    trials : dict of str to dict of Schedule to float
        Times beside the model's choice.
    chosen : dict of str to Schedule
    """

    trials: dict[str, dict[Schedule, float]] = field(default_factory=dict)
    chosen: dict[str, Schedule] = field(default_factory=dict)

    def as_text(self) -> str:
        """Give it as JSON."""
        problems = {
            name: {
                "chosen": schedule_data(self.chosen[name]) if name in self.chosen else None,
                "trials": [{**schedule_data(schedule), "ratio": ratio} for schedule, ratio in tried.items()],
            }
            for name, tried in sorted(self.trials.items())
        }
        return json.dumps({"format": _FORMAT, "problems": problems}, indent=1)

    @property
    def digest(self) -> str:
        """Hash what was chosen; empty where nothing was."""
        return (
            hashlib.sha256(repr(sorted(self.chosen.items(), key=lambda item: item[0])).encode()).hexdigest()
            if self.chosen
            else ""
        )

    @classmethod
    def of(cls, text: str) -> Tuning:
        """Read what `as_text` gave; what is damaged counts as nothing."""
        found = cls()
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT:
                return cls()
            for name, entry in data["problems"].items():
                found.trials[str(name)] = {_schedule(trial): float(trial["ratio"]) for trial in entry["trials"]}
                if entry["chosen"] is not None:
                    found.chosen[str(name)] = _schedule(entry["chosen"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()
        return found


def schedule_data(schedule: Schedule) -> dict[str, Any]:
    """Give a schedule for JSON."""
    return asdict(schedule)


def _schedule(data: Mapping[str, Any]) -> Schedule:
    rows, columns, is_row_major, unrolled = (data[name] for name in _FIELDS)
    return Schedule(int(rows), int(columns), bool(is_row_major), int(unrolled))


@dataclass(frozen=True)
class TuningCache:
    """Tunings on disk.

    Attributes
    ----------
    directory : Path
    """

    directory: Path

    @classmethod
    def default(cls) -> TuningCache:
        """Return the cache in the user's cache directory."""
        return cls(cache_directory() / "schedules")

    def path(self, level: str) -> Path:
        """Return the file of this processor and a level."""
        host = Host.this()
        return (
            self.directory / f"{ObjectCache.key(_FORMAT, host.triple, host.cpu, host.features, level, made_by())}.json"
        )

    def read(self, level: str) -> Tuning:
        """Return what is known of a level's schedules: nothing where there is no file, or a damaged one."""
        try:
            return Tuning.of(self.path(level).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return Tuning()

    def write(self, level: str, tuning: Tuning) -> None:
        """Keep a tuning, with what others have written since.

        Raises
        ------
        ConfigError
            When the directory cannot be written to.
        """
        known = self.read(level)
        for name, tried in known.trials.items():
            tuning.trials[name] = {**tried, **tuning.trials.get(name, {})}
        tuning.chosen = {**known.chosen, **tuning.chosen}
        path = self.path(level)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{time.time_ns()}")
            scratch.write_text(tuning.as_text(), encoding="utf-8")
            scratch.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot write `{path}`: {error.strerror or error}") from None
