"""Quantities over time: bytes a cycle on the memory port, instructions known to wait, entries in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.isa.footprint import footprint
from tilewright.isa.instructions import Engine
from tilewright.isa.semantics import memories
from tilewright.sim.accesses import Accesses
from tilewright.sim.decoded_program import Integers
from tilewright.sim.trace.stream import TimedStream

Numbers = npt.NDArray[np.float64]

#: The scratchpads whose use is followed.
SPACES = ("act", "wgt", "acc", "prm")


@dataclass(frozen=True, eq=False)
class Series:
    """A quantity that keeps a value from each time to the next.

    Attributes
    ----------
    times : array of int64
        Cycles, rising.
    values : array of float64
        As many.
    """

    times: Integers
    values: Numbers


def windows(cycles: int, count: int, least: int = 1) -> Integers:
    """Cut a time into at most `count` windows of equal length, of `least` cycles at least; return their edges."""
    length = max(least, -(-cycles // count), 1)
    edges = np.arange(0, cycles + length, length, dtype=np.int64)
    edges[-1] = max(cycles, 1)
    return edges


def bandwidth(timed: TimedStream, accesses: Accesses, engine: Engine, edges: Integers) -> Series:
    """Return the bytes a cycle that an engine's instructions moved, averaged over windows.

    An engine moves data of one instruction after the other: the bytes of each are spread evenly over the time from the
    end of the one before it, or its own start, to its end. Fetched instructions are not in it.
    """
    queue = timed.stream.queues[engine]
    moved = (accesses.write_bytes if engine is Engine.STORE else accesses.read_bytes)[queue]
    end = timed.end[queue]
    begin = np.minimum(np.maximum(timed.start[queue], np.maximum.accumulate(np.append(0, end))[:-1]), end)
    done = np.cumsum(moved)
    times = np.concatenate([[0], np.stack([begin, end], 1).ravel()])
    totals = np.concatenate([[0], np.stack([done - moved, done], 1).ravel()])
    at_edges = np.interp(edges, times, totals)
    return Series(edges[:-1], np.diff(at_edges) / np.diff(edges))


def waiting(timed: TimedStream, engine: Engine) -> Series:
    """Return how many instructions are known to wait in an engine's queue.

    Instructions are dispatched in stream order: when one starts, all before it have been dispatched, and those that
    have not started wait. There may be more that wait, which nothing tells.
    """
    dispatched = np.minimum.accumulate(timed.start[::-1])[::-1]
    queue = timed.stream.queues[engine]
    times, changes = _merge(
        np.concatenate([dispatched[queue], timed.start[queue]]),
        np.concatenate([np.ones(len(queue), np.int64), -np.ones(len(queue), np.int64)]),
    )
    return Series(times, np.cumsum(changes).astype(np.float64))


def _merge(times: Integers, changes: Integers) -> tuple[Integers, Integers]:
    """Sort changes by time, and add up those of the same time."""
    distinct, inverse = np.unique(times, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, inverse, changes)
    return distinct, sums


def occupancy(timed: TimedStream, edges: Integers) -> dict[str, Series]:
    """Return, for each scratchpad, the share of its entries that are in use, averaged over windows.

    An entry is in use from the start of the instruction that writes it to the end of the last one that reads that.
    """
    isa = timed.stream.program.isa
    depths = {space: buffer.shape[0] for space, buffer in memories(isa.config).items() if space in SPACES}
    follow = {space: _Entries(depth, timed) for space, depth in depths.items()}
    for position in range(len(timed.stream)):
        instruction, values = timed.stream.program.instruction(position)
        touched = footprint(isa, instruction.opcode, values)
        for space, entries in follow.items():
            entries.read(touched.reads.get(space), position)
            entries.write(touched.writes.get(space), position)
    return {space: entries.series(edges) for space, entries in follow.items()}


class _Entries:
    """Which instruction wrote each entry of a scratchpad, and which one read it last."""

    def __init__(self, depth: int, timed: TimedStream) -> None:
        self.start, self.end = timed.start, timed.end
        self.writer = np.full(depth, -1, np.int64)
        self.reader = np.full(depth, -1, np.int64)
        # How many entries begin and cease to be in use at the start and at the end of each instruction.
        self.at_start, self.at_end = np.zeros(len(self.start), np.int64), np.zeros(len(self.start), np.int64)

    def read(self, entries: Integers | None, position: int) -> None:
        if entries is not None:
            self.reader[entries] = position

    def write(self, entries: Integers | None, position: int) -> None:
        if entries is not None:
            self._close(entries, position)
            self.writer[entries], self.reader[entries] = position, -1

    def _close(self, entries: Integers, position: int | None) -> None:
        """Count the lives of entries that were written and read; the next writer may start before the reader's end."""
        used = entries[(self.writer[entries] >= 0) & (self.reader[entries] >= 0)]
        np.add.at(self.at_start, self.writer[used], 1)
        last = self.reader[used]
        if position is not None:
            is_late = self.end[last] > self.start[position]
            self.at_start[position] -= int(is_late.sum())
            last = last[~is_late]
        np.add.at(self.at_end, last, -1)

    def series(self, edges: Integers) -> Series:
        """Close all that is open, and average over windows."""
        self._close(np.arange(len(self.writer)), None)
        times, changes = _merge(np.concatenate([self.start, self.end]), np.concatenate([self.at_start, self.at_end]))
        area = np.append(0, np.cumsum(np.cumsum(changes)[:-1] * np.diff(times)))
        return Series(edges[:-1], np.diff(np.interp(edges, times, area)) / np.diff(edges) / len(self.writer))
