"""What every simulator offers: one launch of a program on a memory, with counters and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import InstructionSet


@dataclass(frozen=True)
class DramTiming:
    """How the memory behind the accelerator behaves; machine.md states the model.

    Attributes
    ----------
    latency_cycles : int
        Cycles from an accepted read address to its first beat, and from a burst's last written beat to its response.
    bytes_per_cycle : int
        What each data channel carries; a beat takes `ceil(beat / bytes_per_cycle)` cycles.
    outstanding : int
        Bursts each way that are accepted and not finished.

    Examples
    --------
    >>> import tilewright
    >>> tilewright.DramTiming(latency_cycles=100, bytes_per_cycle=8)
    DramTiming(latency_cycles=100, bytes_per_cycle=8, outstanding=16)
    >>> tilewright.DramTiming(latency_cycles=0)
    Traceback (most recent call last):
    tilewright.isa.errors.ConfigError: the memory's `latency_cycles` must be at least 1, not 0
    """

    latency_cycles: int = 20
    bytes_per_cycle: int = 16
    outstanding: int = 16

    def __post_init__(self) -> None:
        for name in ("latency_cycles", "bytes_per_cycle", "outstanding"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"the memory's `{name}` must be at least 1, not {value}")


@dataclass(frozen=True)
class InstructionTrace:
    """When each instruction started (took its tokens) and ended (gave its tokens).

    Attributes
    ----------
    start, end : array of int64, shape (instructions,)
        Cycles since the start of the launch, in stream order.
    """

    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


@dataclass(frozen=True)
class LaunchResult:
    """What a launch tells.

    Attributes
    ----------
    cycles : int or None
        From start to finish; None where the simulator knows no time.
    counters : mapping of str to int
        The performance counters (`registers.COUNTERS`); where the simulator knows no time, those that follow from the
        program alone.
    trace : InstructionTrace or None
    """

    cycles: int | None
    counters: Mapping[str, int]
    trace: InstructionTrace | None


class Simulator(Protocol):
    """Runs programs; the scratchpads keep their contents between launches."""

    @property
    def isa(self) -> InstructionSet:
        """The instruction set of the accelerator that is simulated."""
        ...

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Execute `count` instructions that lie at byte `offset` of `dram`, changing `dram` in place.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory, or is invalid.
        DeviceError
            If the run ends in an error.
        """
        ...
