"""What the executors' tests have done with tasks; in a module, so that other processes find it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tilewright.sweep.evaluation import Outcome, Task


def figures(task: Task) -> Outcome:
    """Give figures that name the task."""
    cycles = task.config.memory.act_kib
    return Outcome({"a model": {"cycles": cycles, "energy": 0.0, "dram_bytes": os.getpid(), "layers": []}})


def die_once(task: Task) -> Outcome:
    """Kill the process at the first task of 16 KiB, leaving a mark for the next time."""
    mark = task.cache / "died"
    if task.config.memory.act_kib == 16 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return figures(task)


def die_always(task: Task) -> Outcome:
    """Kill the process at every task of 16 KiB."""
    if task.config.memory.act_kib == 16:
        os.kill(os.getpid(), signal.SIGKILL)
    return figures(task)


def slow_figures(task: Task) -> Outcome:
    """Say who works on the task, and take a while."""
    Path(task.cache / f"worker-{os.getpid()}").touch()
    time.sleep(0.5)
    return figures(task)
