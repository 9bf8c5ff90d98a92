"""The caches when a process is killed in the middle of making an entry, and when several make one at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.sim.rtl.cache import Cache

#: Makes an entry in two steps and waits between them; says so.
_SLOW_MAKER = """
import sys, time
from pathlib import Path
from tilewright.sim.rtl.cache import Cache

def make(folder):
    (folder / "first").write_text("half")
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "second").write_text("whole")

Cache(Path(sys.argv[1])).get("key", make)
"""


def slow_maker(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_SLOW_MAKER), str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    return process


def fill(folder: Path) -> None:
    (folder / "first").write_text("mine")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "terminate"])
def test_an_entry_is_made_again_when_its_maker_was_killed(how: signal.Signals, tmp_path: Path) -> None:
    process = slow_maker(tmp_path, 600)
    process.send_signal(how)
    process.wait()
    entry = Cache(tmp_path).get("key", fill)
    assert [path.name for path in entry.iterdir() if path.suffix != ".json"] == ["first"]
    assert (entry / "first").read_text() == "mine"


def test_who_comes_second_waits_and_finds_the_first_ones(tmp_path: Path) -> None:
    process = slow_maker(tmp_path, 1.5)
    begin = time.monotonic()
    entry = Cache(tmp_path).get("key", fill)
    assert time.monotonic() - begin > 0.5
    assert (entry / "second").read_text() == "whole" and (entry / "first").read_text() == "half"
    assert process.wait() == 0


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20, 39, 40, -1])
def test_a_cut_object_is_made_again(size: int, tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    assert cache.get("key", lambda: b"first") == b"first"
    (path,) = (p for p in tmp_path.iterdir() if p.suffix == ".o")
    path.write_bytes(path.read_bytes()[:size])
    assert cache.get("key", lambda: b"second") == b"second"
    assert cache.get("key", lambda: b"third") == b"second"
