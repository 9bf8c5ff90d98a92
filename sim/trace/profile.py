"""Counts and cycles of a run by layer: what the layer's instructions asked for, and where the engines' cycles went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.compiler.program import Program
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.sim.accesses import COUNTS, accesses
from tilewright.sim.api import LaunchResult
from tilewright.sim.trace.stalls import CAUSES, engine_times
from tilewright.sim.trace.stream import streams_of, timed_streams

Cycles = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Profile:
    """One layer, or a whole run.

    Attributes
    ----------
    counts : mapping of str to int
        By the names of `accesses.COUNTS`.
    engines : mapping of str to mapping of str to int, or None
        Cycles by engine and cause (`stalls.CAUSES`); None where the simulator knows no time. A layer is charged the
        cycles in which an engine worked on, or waited for, one of its instructions, so that layers that overlap add up
        to the run, but for the idle cycles at its end.
    """

    counts: Mapping[str, int]
    engines: Cycles | None

    def as_data(self) -> dict[str, Any]:
        """Give the profile for JSON."""
        engines = None if self.engines is None else {engine: dict(causes) for engine, causes in self.engines.items()}
        return {"counts": dict(self.counts), "engines": engines}


@dataclass(frozen=True)
class RunProfile:
    """A run, and its layers by their number in the program.

    Attributes
    ----------
    config : Config
    layers : tuple of Profile
    total : Profile
    """

    config: Config
    layers: tuple[Profile, ...]
    total: Profile


def profile_run(program: Program, results: Sequence[LaunchResult]) -> RunProfile:
    """Count what a run did, from the results of its launches."""
    layers = len(program.layers)
    counts = {name: np.zeros(layers, np.int64) for name in COUNTS}
    spent = np.zeros((len(Engine), layers, len(CAUSES)), np.int64)
    total = np.zeros((len(Engine), len(CAUSES)), np.int64)
    is_timed = all(result.trace is not None for result in results)
    for stream in streams_of(program):
        for name, sums in accesses(stream.program).by_group(stream.layer_of, layers).items():
            counts[name] += sums
    for timed in timed_streams(program, results) if is_timed else ():
        times = engine_times(timed, accesses(timed.stream.program))
        for number, engine in enumerate(Engine):
            spent[number] += times[engine].by_layer(timed.stream.layer_of, layers)
            total[number] += list(times[engine].totals().values())
    return RunProfile(
        program.config,
        tuple(
            Profile({name: int(sums[i]) for name, sums in counts.items()}, _cycles(spent[:, i]) if is_timed else None)
            for i in range(layers)
        ),
        Profile({name: int(sums.sum()) for name, sums in counts.items()}, _cycles(total) if is_timed else None),
    )


def _cycles(spent: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, dict[str, int]]:
    return {str(engine): dict(zip(CAUSES, spent[number].tolist(), strict=True)) for number, engine in enumerate(Engine)}
