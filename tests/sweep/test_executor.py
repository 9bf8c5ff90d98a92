"""Executors: every task gets its own outcome, whatever happens to the processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep import work
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import InputError
from tilewright.sim.api import DramTiming
from tilewright.sweep.evaluation import Outcome, Task
from tilewright.sweep.executor import ClusterExecutor, LocalExecutor

SIZES = (8, 16, 32, 64, 128, 256)
ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120


def tasks(folder: Path) -> list[Task]:
    configs = [PRESETS["8x8"].with_values(memory={"act_kib": size}) for size in SIZES]
    return [Task(config, ("a model",), DramTiming(), folder) for config in configs]


def sizes(outcomes: dict[int, Outcome]) -> list[int | None]:
    models = (outcomes[index].models.get("a model") for index in range(len(SIZES)))
    return [model["cycles"] if model else None for model in models]


def test_local_outcomes_belong_to_their_tasks(tmp_path: Path) -> None:
    with LocalExecutor(2, work.figures) as executor:
        outcomes = dict(executor.run(tasks(tmp_path)))
    assert sizes(outcomes) == list(SIZES)
    assert all(outcome.models["a model"]["dram_bytes"] != os.getpid() for outcome in outcomes.values())


def test_a_process_that_dies_loses_nothing(tmp_path: Path) -> None:
    with LocalExecutor(2, work.die_once) as executor:
        outcomes = dict(executor.run(tasks(tmp_path)))
    assert (tmp_path / "died").exists()
    assert sizes(outcomes) == list(SIZES)


def test_a_task_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    with LocalExecutor(2, work.die_always) as executor:
        outcomes = dict(executor.run(tasks(tmp_path)))
    assert sizes(outcomes) == [None if size == 16 else size for size in SIZES]
    assert outcomes[1].reason == "the process that evaluated it died 3 times"


def test_processes_end_with_the_one_that_coordinates(tmp_path: Path) -> None:
    code = f"from tests.sweep import test_executor; test_executor.coordinate({str(tmp_path)!r})"
    coordinator = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while len(workers := [int(path.name.split("-")[1]) for path in tmp_path.glob("worker-*")]) < 2:
            assert time.monotonic() < deadline and coordinator.poll() is None, "the workers do not start"
            time.sleep(0.05)
    finally:
        coordinator.kill()
    coordinator.wait()
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, f"of the processes {workers} some still run"
        time.sleep(0.05)


def coordinate(folder: str) -> None:
    """Evaluate tasks without end."""
    with LocalExecutor(2, work.slow_figures) as executor:
        while True:
            list(executor.run(tasks(Path(folder))))


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start a program of Dask that finds the tests' own modules."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stderr=subprocess.DEVNULL, cwd=ROOT)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers of one process each: its address, and the workers."""
    file = tmp_path / "scheduler.json"
    scheduler = start("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [start("distributed.cli.dask_worker", *options) for _ in range(2)]
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not file.exists():
            assert time.monotonic() < deadline and scheduler.poll() is None, "the scheduler does not start"
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_a_cluster_evaluates_and_survives_the_death_of_a_worker(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, workers = cluster
    outcomes: dict[int, Outcome] = {}
    with ClusterExecutor(address, work.slow_figures) as executor:
        executor.wait_for_workers(2, PATIENCE_SECONDS)
        for index, outcome in executor.run(tasks(tmp_path)):
            if not outcomes:
                workers[0].send_signal(signal.SIGKILL)
            outcomes[index] = outcome
    assert sizes(outcomes) == list(SIZES)
    assert len(list(tmp_path.glob("worker-*"))) == 2, "both workers had begun"


def test_a_scheduler_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="no Dask scheduler at `tcp://127.0.0.1:9`"):
        ClusterExecutor("tcp://127.0.0.1:9", timeout_seconds=1)
