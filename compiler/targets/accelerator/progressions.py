"""Lists of indices as few arithmetic progressions, each of which a strided copy can follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Up to so many interleaved progressions are looked for: enlargement by as much.
_MOST_INTERLEAVED = 8


@dataclass(frozen=True)
class Progression:
    """`count` indices from `first` on, `step` apart, which stand at `place`, `place_step` apart."""

    first: int
    step: int
    place: int
    place_step: int
    count: int


def progressions(indices: Sequence[int]) -> list[Progression]:
    """Return progressions that make up a list of indices, as few as a few simple ways to cut it give."""
    ways = ([*_interleaved(indices, factor)] for factor in range(1, min(_MOST_INTERLEAVED, len(indices)) + 1))
    return min(ways, key=len)


def _interleaved(indices: Sequence[int], factor: int) -> Iterator[Progression]:
    """Yield the progressions of every `factor`-th index."""
    for start in range(factor):
        every = indices[start::factor]
        place = 0
        while place < len(every):
            step = every[place + 1] - every[place] if place + 1 < len(every) else 1
            end = place + 1
            while step >= 0 and end < len(every) and every[end] - every[end - 1] == step:
                end += 1
            yield Progression(every[place], step, start + place * factor, factor, end - place)
            place = end
