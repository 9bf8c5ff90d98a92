"""How long compiling takes, and how much memory: each case in a process of its own, which compiled nothing before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context
from tilewright.isa.errors import TilewrightError

SUITE = "compile"
CASES = ("resnet8", "C2", "resnet18", "mobilenet_v2")

_TIMES = 3


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record seconds and seconds of processor time from a model to a program, the best of three, and the most memory.

    Loading Python's modules is not counted in the times, but is in the memory.
    """
    runs = []
    for done in range(_TIMES):
        context.progress(case, done, _TIMES)
        runs.append(_in_new_process(case, context))
    record = partial(Record, SUITE, case, array_of(context.config), config_hash=context.config.hash)
    for metric in ("time", "cpu_time"):
        yield record(metric, round(min(run[metric] for run in runs), 3), "s", "lower")
    yield record("peak_memory", round(max(run["peak_memory"] for run in runs), 1), "MiB", "lower")


def _in_new_process(case: str, context: Context) -> dict[str, float]:
    command = [sys.executable, "-m", "tilewright.bench.compile_once", case]
    result = subprocess.run(command, input=context.config.to_toml(), capture_output=True, text=True, check=False)
    if result.returncode:
        raise TilewrightError(f"compiling {case} failed: {result.stderr.strip().splitlines()[-1]}")
    figures: dict[str, float] = json.loads(result.stdout)
    return figures
