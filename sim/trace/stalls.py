"""Where each engine's cycles went: worked, or waited, and for what.

What is known is when each instruction started and ended, and what it waited for. So an engine that works on nothing
is charged, cycle by cycle, to the first that holds of its next instruction: a token that it needs has not been given;
its fence holds it back; it has not arrived (`dispatch`, and the cycle or two in which a queue hands it over). Without
a next instruction the compute engine's last results are still on their way (`drain`), or it is done (`idle`).
An engine that works on one instruction while the next one waits is busy: the device's own `_wait` counters count
those cycles too, and are higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.isa.instructions import Engine
from tilewright.sim.accesses import Accesses
from tilewright.sim.decoded_program import Integers
from tilewright.sim.trace.stream import Stream, TimedStream

#: What a cycle of an engine can be charged to.
CAUSES: tuple[str, ...] = (
    "busy", "wait_load", "wait_compute", "wait_store", "fence", "dispatch", "drain", "idle",
)  # fmt: skip

_NUMBER: Mapping[str, int] = {cause: number for number, cause in enumerate(CAUSES)}

#: Cycles between a token and the start of the instruction that takes it, which count as waiting for it.
_HANDOVER_CYCLES = 2


@dataclass(frozen=True, eq=False)
class EngineTime:
    """The cycles of an engine as intervals that follow each other without a gap, none of them empty.

    Attributes
    ----------
    cause : array of int64
        Index into `CAUSES`.
    begin, end : array of int64
        First cycle and the one behind the last.
    position : array of int64
        The instruction that the interval is charged to; -1 when it has none.
    """

    cause: Integers
    begin: Integers
    end: Integers
    position: Integers

    def totals(self) -> dict[str, int]:
        """Add up the cycles by cause."""
        sums = np.zeros(len(CAUSES), np.int64)
        np.add.at(sums, self.cause, self.end - self.begin)
        return dict(zip(CAUSES, sums.tolist(), strict=True))

    def by_layer(self, layer_of: Integers, layers: int) -> Integers:
        """Add up the cycles by layer and cause: array of shape (layers, causes)."""
        sums = np.zeros((layers, len(CAUSES)), np.int64)
        owned = self.position >= 0
        index = (layer_of[self.position[owned]], self.cause[owned])
        np.add.at(sums, index, (self.end - self.begin)[owned])
        return sums


def engine_times(timed: TimedStream, accesses: Accesses) -> dict[Engine, EngineTime]:
    """Account for every cycle of every engine.

    Parameters
    ----------
    timed : TimedStream
    accesses : Accesses
        Of the same instructions.
    """
    ready, source = _tokens(timed)
    result = {}
    for engine, queue in timed.stream.queues.items():
        begin, end = _working(engine, timed, accesses, queue)
        result[engine] = _account(timed, queue, begin, end, ready, source)
    return result


def _tokens(timed: TimedStream) -> tuple[Integers, Integers]:
    """Return for each instruction when its last token was given (-1: it needs none) and the cause to wait for it."""
    stream = timed.stream
    ready, source = np.full(len(stream), -1, np.int64), np.zeros(len(stream), np.int64)
    for giver in Engine:
        for taker in giver.others:
            gives, takes = stream.token_givers(giver, taker)
            later = timed.end[gives] > ready[takes]
            ready[takes[later]] = timed.end[gives][later]
            source[takes[later]] = _NUMBER[f"wait_{giver}"]
    return ready, source


def _working(engine: Engine, timed: TimedStream, accesses: Accesses, queue: Integers) -> tuple[Integers, Integers]:
    """Return from when until when the engine works on each of its instructions, one at a time.

    DMA engines start an instruction while they still work on earlier ones: those come first. The compute engine works
    for as long as it issues steps.
    """
    start, end = timed.start[queue], timed.end[queue]
    if engine is Engine.COMPUTE:
        following = np.append(start[1:], timed.cycles)
        return start, np.minimum(np.minimum(start + accesses.steps[queue], end), following)
    earlier = np.maximum.accumulate(np.append(0, end))[:-1]
    return np.minimum(np.maximum(start, earlier), end), end


def _account(
    timed: TimedStream, queue: Integers, begin: Integers, end: Integers, ready: Integers, source: Integers
) -> EngineTime:
    """Fill the gaps between the instructions of an engine with their causes."""
    rows: list[tuple[int, int, int, int]] = []
    fences = _fence_ends(timed.stream, queue, timed.end)
    now = 0
    for position, first, last, fence in zip(queue.tolist(), begin.tolist(), end.tolist(), fences.tolist(), strict=True):
        for cause, until in (
            (int(source[position]), _release(int(ready[position]), first)),
            (_NUMBER["fence"], _release(fence, first)),
            (_NUMBER["dispatch"], first),
            (_NUMBER["busy"], last),
        ):
            if until > now:
                rows.append((cause, now, until, position))
                now = until
    drained, last_position = (int(timed.end[queue].max()), int(queue[-1])) if len(queue) else (0, -1)
    for cause, until, position in (
        (_NUMBER["drain"], drained, last_position),
        (_NUMBER["idle"], timed.cycles, -1),
    ):
        if until > now:
            rows.append((cause, now, until, position))
            now = until
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return EngineTime(*columns)


def _release(ready: int, start: int) -> int:
    """Return until when an instruction waited; a start right behind it is the handover."""
    return start if ready >= 0 and start - ready <= _HANDOVER_CYCLES else min(ready, start)


def _fence_ends(stream: Stream, queue: Integers, end: Integers) -> Integers:
    """Return for each instruction of a queue when all earlier ones had ended, where it has a fence, else -1."""
    earlier = np.maximum.accumulate(np.append(0, end[queue]))[:-1] if len(queue) else queue
    return np.where(stream.fences[queue] == 1, earlier, -1)
