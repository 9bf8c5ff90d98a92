"""Which processors a measurement runs on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tilewright.bench import processors
from tilewright.bench.processors import pinned, thread_counts

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say who runs where")


def _topology(folder: Path, cores: list[str]) -> Path:
    for number, siblings in enumerate(cores):
        (folder / f"cpu{number}" / "topology").mkdir(parents=True)
        (folder / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(siblings)
    return folder


def test_each_core_comes_before_second_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_TOPOLOGY", _topology(tmp_path, ["0-1", "0-1", "2-3", "2-3", "4"]))
    monkeypatch.setattr(processors, "_allowed", lambda: [0, 1, 2, 3, 4, 5])
    assert processors.processors() == [0, 2, 4, 5, 1, 3]
    assert thread_counts() == (1, 2, 6)


def test_threads_started_meanwhile_are_pinned_too() -> None:
    before, seen = os.sched_getaffinity(0), []
    with pinned(1):
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
        assert seen == [os.sched_getaffinity(0)] and len(seen[0]) == 1
    assert os.sched_getaffinity(0) == before
