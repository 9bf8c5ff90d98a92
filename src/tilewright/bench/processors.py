"""Which processors a measurement uses: as many as it has threads, on cores of their own where there are enough."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")


def thread_counts() -> tuple[int, ...]:
    """Return how many threads networks are measured on: one, two, and as many as there are processors."""
    return tuple(sorted({1, 2, len(_allowed())}))


def processors() -> list[int]:
    """Return the processors that this process may use, one of each core before the second ones of any."""
    seen: dict[str, int] = {}

    def turn(number: int) -> int:
        core = _siblings(number)
        seen[core] = seen.get(core, -1) + 1
        return seen[core]

    return [number for _, number in sorted((turn(number), number) for number in _allowed())]


@contextmanager
def pinned(count: int) -> Iterator[None]:
    """Let this thread, and those that it starts meanwhile, run on so many processors only."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors()[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _siblings(number: int) -> str:
    """Name the core of a processor by the processors that share it."""
    try:
        return (_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(number)
