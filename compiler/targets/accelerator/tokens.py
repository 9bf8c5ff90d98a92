"""Synchronises a stream: which instructions wait for which tokens, give which tokens, and which are fenced.

An engine works its queue in order and completes in order, so an instruction that must come after several of another
engine's waits for the last of them only, and for none that is known to be complete by then: because the engine has
waited for that one or a later one before, or for something that in turn had waited for it.

Within the compute pipeline, results are written in the order in which they are issued and operands are read before
results are written (machine.md, rules of time), so only a read soon after a write needs a fence: one that fewer than
`RESULT_STEPS` steps part from the step that completes what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.accelerator.hazards import following_distance
from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.compiler.targets.accelerator.ordering import depths
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.order import RESULT_STEPS, compute_steps

_ENGINES = tuple(Engine)
_NUMBER = {engine: i for i, engine in enumerate(_ENGINES)}
_COMPUTE = _NUMBER[Engine.COMPUTE]

#: Bytes of DRAM that are tracked together.
GRANULE_BYTES = 64

#: What is not yet: before the first instruction of an engine.
_NEVER = -1


@dataclass(slots=True)
class Sync:
    """The synchronisation of one instruction: bit masks by engine number, and the fence."""

    wait: int = 0
    signal: int = 0
    fence: bool = False

    def operands(self, engine: Engine) -> dict[str, int]:
        """Return the fields of the instruction."""
        others = [_NUMBER[other] for other in engine.others]
        fields = {
            "wait": sum((self.wait >> other & 1) << i for i, other in enumerate(others)),
            "signal": sum((self.signal >> other & 1) << i for i, other in enumerate(others)),
        }
        return fields | ({"fence": int(self.fence)} if engine is Engine.COMPUTE else {})


class _Memory:
    """Who wrote and read each unit of a memory last, by engine and the engine's count of instructions."""

    def __init__(self, depth: int, granule: int) -> None:
        self.depth = depth
        self.granule = granule
        self.units = -(-depth // granule)
        self.written: list[NDArray[np.int32]] = [np.full(self.units, _NEVER, np.int32) for _ in _ENGINES]
        self.read: list[NDArray[np.int32]] = [np.full(self.units, _NEVER, np.int32) for _ in _ENGINES]
        self.writers: set[int] = set()
        self.readers: set[int] = set()

    def pieces(self, span: Span) -> tuple[slice, ...]:
        """The slices of units that a span covers."""
        _, start, count = span
        if not count:
            return ()
        first, end = start // self.granule, -(-(start + count) // self.granule)
        if end <= self.units:
            return (slice(first, end),)
        if end - first >= self.units:
            return (slice(0, self.units),)
        return (slice(first, self.units), slice(0, end - self.units))


@dataclass
class _State:
    """What is known at the current end of the stream."""

    memories: Mapping[str, _Memory]
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    #: For each engine: how many instructions of each engine are certainly complete when its next one starts.
    known: list[list[int]] = field(default_factory=lambda: [[_NEVER] * 3 for _ in _ENGINES])
    #: For each engine and instruction: what is known to be complete when that completes.
    histories: list[list[tuple[int, int, int]]] = field(default_factory=lambda: [[], [], []])
    #: Steps of the compute pipeline until each of its instructions has issued its last one.
    issued: list[int] = field(default_factory=list)
    #: The last compute instruction.
    last: Operation | None = None
    #: For each engine: its instructions' places in the stream.
    places: list[list[int]] = field(default_factory=lambda: [[], [], []])
    #: For each giver and taker: tokens in flight in stream order, (giver's number, taker's number).
    tokens: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)


def synchronise(stream: Sequence[Operation], config: Config, dram_bytes: int) -> list[Sync]:
    """Return the synchronisation of every operation of a stream.

    Parameters
    ----------
    stream
        Valid when executed one after the other.
    config
    dram_bytes
        Only DRAM spans below this are tracked; constants and instructions, never written, lie beyond.
    """
    sizes = dict(depths(config)) | {"dram": dram_bytes}
    state = _State({name: _Memory(depth, GRANULE_BYTES if name == "dram" else 1) for name, depth in sizes.items()})
    syncs = [Sync() for _ in stream]
    limit = (1 << config.queue.token_bits) - 2  # the hardware holds an engine back when a counter reaches one more
    for place, operation in enumerate(stream):
        engine = _NUMBER[operation.engine]
        needed = _needed(state, operation)
        for other in _implying_first(state, engine, needed):
            if needed[other] > state.known[engine][other]:
                _wait(state, syncs, (other, engine), needed[other], limit)
        if engine == _COMPUTE and _reads_too_early(state, operation, config.acc_depth):
            syncs[place].fence = True
            state.known[engine] = list(map(max, state.known[engine], _history(state, engine, state.counts[engine] - 1)))
        for other in range(3):
            pair = state.tokens.get((other, engine), [])
            if pair and pair[-1][1] == state.counts[engine]:
                syncs[place].wait |= 1 << other
        _record(state, operation, engine, place)
    return syncs


def _needed(state: _State, operation: Operation) -> list[int]:
    """The last instruction of each engine that must be complete before an operation."""
    needed = [_NEVER] * 3
    for span in operation.reads:
        memory = state.memories[span[0]]
        for piece in memory.pieces(span):
            for engine in memory.writers:
                needed[engine] = max(needed[engine], int(memory.written[engine][piece].max()))
    own = _NUMBER[operation.engine]
    for span in operation.writes:
        memory = state.memories[span[0]]
        for piece in memory.pieces(span):
            for engine in memory.writers:
                if engine != own:
                    needed[engine] = max(needed[engine], int(memory.written[engine][piece].max()))
            for engine in memory.readers:
                if engine != own:
                    needed[engine] = max(needed[engine], int(memory.read[engine][piece].max()))
    return needed


def _reads_too_early(state: _State, operation: Operation, acc_depth: int) -> bool:
    """Whether a compute instruction, without a fence, could read something before it is written."""
    if state.last is None:
        return False
    number = state.counts[_COMPUTE] - 1
    follows = following_distance(state.last, operation, acc_depth) >= RESULT_STEPS
    latest = state.known[_COMPUTE][_COMPUTE]
    for span in operation.reads:
        memory = state.memories[span[0]]
        for piece in memory.pieces(span):
            written = memory.written[_COMPUTE][piece]
            others = written[written != number] if follows and span[0] == "acc" else written
            latest = max(latest, int(others.max(initial=_NEVER)))
    if latest == state.known[_COMPUTE][_COMPUTE]:
        return False
    return state.issued[-1] - state.issued[latest] + 1 < RESULT_STEPS


def _implying_first(state: _State, engine: int, needed: list[int]) -> list[int]:
    """The other engines; first one whose instruction, when complete, implies that the other one's is."""
    first, second = (other for other in range(3) if other != engine)
    if needed[second] > _NEVER and _history(state, second, needed[second])[first] >= needed[first]:
        return [second, first]
    return [first, second]


def _history(state: _State, engine: int, number: int) -> tuple[int, int, int]:
    return state.histories[engine][number]


def _wait(state: _State, syncs: list[Sync], pair: tuple[int, int], number: int, limit: int) -> None:
    """Let the taker's next instruction wait for the giver's `number`-th.

    Where too many tokens would be on their way, the instruction that took the last one takes this one instead: it
    comes later in the stream than the giver's, and the taker's next instruction after it.
    """
    giver, taker = pair
    tokens = state.tokens.setdefault(pair, [])
    place = state.places[giver][number]
    in_flight = 0
    while in_flight < min(limit, len(tokens)) and state.places[taker][tokens[-1 - in_flight][1]] > place:
        in_flight += 1
    if in_flight >= limit:
        old, take = tokens.pop()
        syncs[state.places[giver][old]].signal &= ~(1 << taker)
        tokens.append((number, take))
    else:
        tokens.append((number, state.counts[taker]))
    syncs[place].signal |= 1 << taker
    state.known[taker] = list(map(max, state.known[taker], _history(state, giver, number)))


def _record(state: _State, operation: Operation, engine: int, place: int) -> None:
    """Note what an operation touches, and what is known when it is complete."""
    number = state.counts[engine]
    for span in operation.reads:
        memory = state.memories[span[0]]
        for piece in memory.pieces(span):
            memory.read[engine][piece] = number
            memory.readers.add(engine)
    for span in operation.writes:
        memory = state.memories[span[0]]
        for piece in memory.pieces(span):
            memory.written[engine][piece] = number
            memory.writers.add(engine)
    history = list(state.known[engine])
    history[engine] = number
    state.histories[engine].append((history[0], history[1], history[2]))
    state.places[engine].append(place)
    if engine == _COMPUTE:
        state.issued.append((state.issued[-1] if state.issued else 0) + compute_steps(operation.operands))
        state.last = operation
    state.counts[engine] = number + 1
