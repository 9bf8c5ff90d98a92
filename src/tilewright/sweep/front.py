"""The Pareto front of a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilewright.sweep.study import Point

Numbers = NDArray[np.float64]


def front(points: Sequence[Point], objectives: Sequence[str]) -> list[Point]:
    """Return the points that no other beats in all objectives, without repeats, by the first objective.

    Parameters
    ----------
    points : sequence of Point
        Those that are not done do not count.
    objectives : sequence of str
        Names of metrics, all to be small.
    """
    unique = {tuple(point.chosen.items()): point for point in reversed(points) if point.state == "done"}
    done = sorted(unique.values(), key=lambda point: point.number)
    if not done:
        return []
    values = np.array([[point.metrics[name] for name in objectives] for point in done])
    kept = [point for point, row in zip(done, values, strict=True) if not _is_beaten(row, values)]
    return sorted(kept, key=lambda point: [point.metrics[name] for name in objectives])


def _is_beaten(row: Numbers, values: Numbers) -> bool:
    return bool(((values <= row).all(axis=1) & (values < row).any(axis=1)).any())


def best(points: Sequence[Point], metric: str) -> Point | None:
    """Return the point with the smallest value of a metric; the first of several."""
    done = [point for point in points if point.state == "done"]
    return min(done, key=lambda point: (point.metrics[metric], point.number), default=None)
