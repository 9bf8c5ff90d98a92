"""In which order a debugger executes the instructions of a launch: as they stand, or as they end in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tilewright.isa.instructions import Engine
from tilewright.sim.api import InstructionTrace
from tilewright.sim.decoded_program import Integers
from tilewright.sim.trace.stream import Stream


@dataclass(frozen=True, eq=False)
class ExecutionOrder:
    """Instructions by rank, which is when they are executed, and by position, which is where they stand.

    Tokens make an instruction end after all that it depends on, so that both orders give the same results.

    Attributes
    ----------
    positions : array of int64, shape (instructions,)
        The position of each rank.
    trace : InstructionTrace or None
        Starts and ends by position, where the order is that of time.
    """

    positions: Integers
    trace: InstructionTrace | None = None

    @classmethod
    def of_stream(cls, count: int) -> ExecutionOrder:
        """Order as the instructions stand."""
        return cls(np.arange(count))

    @classmethod
    def of_time(cls, trace: InstructionTrace) -> ExecutionOrder:
        """Order as the instructions end."""
        return cls(np.argsort(trace.end, kind="stable"), trace)

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def ranks(self) -> Integers:
        """The rank of each position."""
        ranks = np.empty(len(self), np.int64)
        ranks[self.positions] = np.arange(len(self))
        return ranks

    def ended_by(self, cycle: int) -> int:
        """Count the instructions that have ended by a cycle."""
        assert self.trace is not None
        return int((self.trace.end <= cycle).sum())

    def end_of(self, rank: int) -> int:
        """Return the cycle in which an instruction ends; 0 before the first, and where time is not known."""
        return int(self.trace.end[self.positions[rank]]) if self.trace is not None and rank >= 0 else 0

    def tokens(self, stream: Stream, giver: Engine, taker: Engine, executed: int, cycle: int) -> int:
        """Count the tokens given and not taken, when so many instructions have been executed."""
        gives, takes = stream.token_marks(giver, taker)
        given = int((self.ranks[gives] < executed).sum())
        if self.trace is None:
            return given - int((self.ranks[takes] < executed).sum())
        return given - int((self.trace.start[takes] <= cycle).sum())

    def working(self, stream: Stream, engine: Engine, cycle: int) -> tuple[list[int], int | None]:
        """Return the positions of what an engine works on in a cycle, and of what it starts next."""
        assert self.trace is not None
        queue = stream.queues[engine]
        start, end = self.trace.start[queue], self.trace.end[queue]
        later = queue[start > cycle]
        return queue[(start <= cycle) & (end > cycle)].tolist(), int(later[0]) if len(later) else None
