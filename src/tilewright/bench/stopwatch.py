"""Time in wall seconds and in seconds of the processor: on a shared machine the second says more."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tilewright.isa.instructions import InstructionSet
from tilewright.sim.api import DramTiming, LaunchResult, Simulator

Result = TypeVar("Result")


@dataclass(frozen=True)
class Seconds:
    """How long something took.

    Attributes
    ----------
    wall, processor : float
        The second is of all threads, and of child processes where they are waited for.
    """

    wall: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.processor + other.processor)


def timed(action: Callable[[], Result]) -> tuple[Result, Seconds]:
    """Do something; give its result and its time."""
    wall, processor = time.perf_counter(), _processor()
    result = action()
    return result, Seconds(time.perf_counter() - wall, _processor() - processor)


def _processor() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def middle(times: Sequence[Seconds]) -> Seconds:
    """Give the medians of some times."""
    return Seconds(median(t.wall for t in times), median(t.processor for t in times))


class TimedSimulator:
    """A simulator that adds up how long its launches take, in `seconds`, and how many cycles.

    Attributes
    ----------
    seconds : Seconds
    cycles : int
        0 where the simulator knows no time.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.dram: DramTiming = getattr(simulator, "dram", DramTiming())
        self.seconds = Seconds()
        self.cycles = 0

    @property
    def isa(self) -> InstructionSet:
        """The instruction set of the accelerator that is simulated."""
        return self._simulator.isa

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Launch; see `Simulator.launch`."""
        result, seconds = timed(lambda: self._simulator.launch(dram, offset, count))
        self.seconds += seconds
        self.cycles += result.cycles or 0
        return result
