"""Where points are evaluated: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from tilewright.isa.errors import DeviceError, InputError
from tilewright.sweep.evaluation import Outcome, Task, evaluate

if TYPE_CHECKING:
    from distributed import Client

#: New objects after which a process of ours looks for those that nothing needs any more.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000

#: Times that the worker of a task may die before the task is what killed it.
MOST_DEATHS = 3

Work = Callable[[Task], Outcome]


class Executor(Protocol):
    """Evaluates tasks; a context manager."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """Evaluate tasks; yield the index of each and its outcome, in the order in which they end."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class LocalExecutor:
    """Processes of this machine; one that dies is replaced and its task tried again.

    Parameters
    ----------
    jobs : int
    work : Callable
        What is done with a task.
    """

    def __init__(self, jobs: int, work: Work = evaluate):
        self._jobs = jobs
        self._work = work
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(is_hurried=kind is not None)

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """Evaluate tasks; see `Executor.run`."""
        deaths = [0] * len(tasks)
        left = dict(enumerate(tasks))
        while left:
            # After a death it is not known which task was the cause: then one at a time.
            suspects = [index for index in left if deaths[index]]
            chosen = suspects[:1] or list(left)
            futures = {self._submit(left[index]): index for index in chosen}
            for future in as_completed(futures):
                index = futures[future]
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    deaths[index] += 1
                    if deaths[index] < MOST_DEATHS:
                        continue
                    outcome = Outcome(reason=f"the process that evaluated it died {MOST_DEATHS} times")
                del left[index]
                yield index, outcome
            if any(deaths[index] for index in left):
                self._close(is_hurried=True)

    def _submit(self, task: Task) -> Future[Outcome]:
        try:
            return self._opened().submit(self._work, task)
        except BrokenProcessPool as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_prepare)
        return self._pool

    def _close(self, is_hurried: bool) -> None:
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=not is_hurried, cancel_futures=True)
        for process in processes if is_hurried else ():
            process.kill()
        self._pool = None


def _prepare() -> None:
    """Leave Ctrl-C to the process that coordinates, end with it, and look for dead cycles of objects rarely."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


def _end_with_parent() -> None:
    """End this process when the one that coordinates is gone, killed perhaps: nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class ClusterExecutor:
    """The workers of a Dask cluster, on which Tilewright must be installed.

    Parameters
    ----------
    address : str
        Of the scheduler, such as `tcp://host:8786`.
    work : Callable
    timeout_seconds : float
        How long to wait for the scheduler.

    Raises
    ------
    InputError
        When there is no scheduler at that address.
    """

    def __init__(self, address: str, work: Work = evaluate, timeout_seconds: float = 10):
        self._work = work
        self._client = _connect(address, timeout_seconds)

    def wait_for_workers(self, count: int, timeout_seconds: float) -> None:
        """Wait until so many workers are there.

        Raises
        ------
        InputError
            When they do not come in time.
        """
        try:
            self._client.wait_for_workers(count, timeout_seconds)
        except TimeoutError:
            raise InputError(f"the Dask cluster has less than {count} workers after {timeout_seconds} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """Evaluate tasks; see `Executor.run`. Dask itself gives the tasks of a dead worker to others."""
        from distributed import as_completed as completed

        futures = {self._client.submit(self._work, task, pure=False): index for index, task in enumerate(tasks)}
        for future in completed(list(futures)):  # type: ignore[no-untyped-call]
            yield futures[future], _outcome(future)


def _connect(address: str, timeout_seconds: float) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--cluster needs Dask: install `tilewright[sweep]`") from None
    try:
        return Client(address, timeout=timeout_seconds)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no Dask scheduler at `{address}`: {error}") from None


def _outcome(future: Any) -> Outcome:
    from distributed.scheduler import KilledWorker

    try:
        outcome: Outcome = future.result()
    except KilledWorker:
        return Outcome(reason="the workers that evaluated it died")
    except DeviceError as error:
        return Outcome(reason=str(error))
    return outcome
