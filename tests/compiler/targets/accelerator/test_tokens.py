"""Synchronised streams do what they do in order, however slow or fast the engines are."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import pytest

from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.compiler.targets.accelerator.ordering import depths
from tilewright.compiler.targets.accelerator.tokens import Sync, synchronise
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

DRAM_BYTES = 64 * 16
#: The loops of an instruction after which no other finds its result without a fence.
ONE_STEP = {f"extent_{loop}": 1 for loop in OUT_LOOPS + RED_LOOPS}
CONFIGS = {
    "default": Config.load("tiny"),
    "few tokens": Config.load("tiny").with_values(queue={"token_bits": 2, "load": 2, "compute": 2, "store": 2}),
}


def random_span(rng: random.Random, space: str, config: Config) -> Span:
    if space == "dram":
        return space, 64 * rng.randrange(8), 64 * rng.randrange(1, 4)
    depth = depths(config)[space]
    span = min(depth, 16)  # few units, so that conflicts are frequent; the last ones wrap
    return space, (depth - span // 2 + rng.randrange(span)) % depth, rng.randrange(1, 4)


def random_operation(rng: random.Random, config: Config) -> Operation:
    engine = rng.choice(tuple(Engine))
    draw = lambda *spaces: tuple(random_span(rng, space, config) for space in spaces)  # noqa: E731
    if engine is Engine.LOAD:
        space = rng.choice(("act", "wgt", "prm"))
        return Operation("LOAD_ACT", engine, {}, draw("dram") if space == "act" else (), draw(space))
    if engine is Engine.STORE:
        return Operation("STORE_ACT", engine, {}, draw("act"), draw("dram"))
    reads = draw(*rng.sample(("act", "wgt", "prm", "acc"), rng.randrange(1, 4)))
    return Operation("GEMM", engine, ONE_STEP, reads, draw(rng.choice(("act", "acc"))))


def touches(first: tuple[Span, ...], second: tuple[Span, ...], config: Config) -> bool:
    """Whether spans share a unit, by sets of units."""
    sizes = depths(config)

    def units(spans: tuple[Span, ...]) -> set[tuple[str, int]]:
        return {(space, (start + i) % sizes[space]) for space, start, count in spans for i in range(count)}

    return bool(units(first) & units(second))


def dependencies(stream: list[Operation], config: Config) -> list[set[int]]:
    """For each operation, the earlier ones that must be complete before it starts (of its own engine: RAW only)."""
    result: list[set[int]] = []
    for i, later in enumerate(stream):
        needed = set()
        for j, earlier in enumerate(stream[:i]):
            is_raw = touches(later.reads, earlier.writes, config)
            is_other = touches(later.writes, (*earlier.reads, *earlier.writes), config)
            if is_raw or (is_other and earlier.engine is not later.engine):
                needed.add(j)
        result.append(needed)
    return result


@dataclass
class Machine:
    """Engines with queues and token counters, moved by chance: fetch, start or complete, one event at a time."""

    config: Config
    stream: list[Operation]
    syncs: list[Sync]
    needed: list[set[int]]
    rng: random.Random
    speeds: dict[str, float]

    def run(self) -> None:
        needed = self.needed
        full = (1 << self.config.queue.token_bits) - 1
        engines = tuple(Engine)
        queues: dict[Engine, deque[int]] = {engine: deque() for engine in engines}
        running: dict[Engine, deque[int]] = {engine: deque() for engine in engines}
        tokens = {(giver, taker): 0 for giver in engines for taker in engines}
        complete: set[int] = set()
        fetched = 0
        while len(complete) < len(self.stream):
            moves = []
            if fetched < len(self.stream):
                target = self.stream[fetched].engine
                if len(queues[target]) < getattr(self.config.queue, target.value):
                    moves.append(("fetch", target))
            for number, engine in enumerate(engines):
                if running[engine]:
                    moves.append(("complete", engine))
                if not queues[engine]:
                    continue
                sync = self.syncs[queues[engine][0]]
                waits = [g for i, g in enumerate(engines) if sync.wait >> i & 1]
                is_held = any(tokens[engine, taker] >= full for taker in engines)
                is_fenced = sync.fence and running[engine]
                if all(tokens[g, engine] for g in waits) and not is_held and not is_fenced:
                    moves.append(("start", engine))
                assert not sync.wait >> number & 1
            assert moves, "deadlock"
            weights = [self.speeds[f"{kind} {engine}"] for kind, engine in moves]
            kind, engine = self.rng.choices(moves, weights)[0]
            if kind == "fetch":
                queues[engine].append(fetched)
                fetched += 1
            elif kind == "start":
                place = queues[engine].popleft()
                for i, giver in enumerate(engines):
                    tokens[giver, engine] -= self.syncs[place].wait >> i & 1
                assert needed[place] <= complete, f"{place} starts before {sorted(needed[place] - complete)}"
                running[engine].append(place)
            else:
                place = running[engine].popleft()
                complete.add(place)
                for i, taker in enumerate(engines):
                    tokens[engine, taker] += self.syncs[place].signal >> i & 1
        assert not any(tokens.values()), "tokens are left over"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("case", range(20))
def test_any_timing_keeps_the_order(config: Config, case: int, python_random: random.Random) -> None:
    rng = python_random
    stream = [random_operation(rng, config) for _ in range(rng.randrange(1, 80))]
    syncs = synchronise(stream, config, DRAM_BYTES)
    needed = dependencies(stream, config)
    for _ in range(12):
        names = [f"{kind} {engine}" for kind in ("fetch", "start", "complete") for engine in Engine]
        speeds = {name: 10.0 ** rng.uniform(-3, 0) for name in names}
        Machine(config, stream, syncs, needed, rng, speeds).run()


def test_no_more_tokens_on_their_way_than_counters_hold() -> None:
    config = CONFIGS["few tokens"]
    loads = [Operation("LOAD_WGT", Engine.LOAD, {}, (), (("wgt", i, 1),)) for i in range(8)]
    computes = [Operation("GEMM", Engine.COMPUTE, ONE_STEP, (("wgt", i, 1),), (("act", i, 1),)) for i in range(8)]
    syncs = synchronise([*loads, *computes], config, DRAM_BYTES)
    given = sum(sync.signal != 0 for sync in syncs)
    assert 0 < given <= (1 << config.queue.token_bits) - 2
    assert sum(sync.wait != 0 for sync in syncs) == given
    speeds = {f"{kind} {engine}": 1.0 for kind in ("fetch", "start", "complete") for engine in Engine}
    stream = [*loads, *computes]
    Machine(config, stream, syncs, dependencies(stream, config), random.Random(0), speeds).run()


def test_one_token_for_what_one_token_covers() -> None:
    """Two loads that one instruction needs give one token; what a token implies needs no second one."""
    config = CONFIGS["default"]
    load = lambda space: Operation("LOAD", Engine.LOAD, {}, (), ((space, 0, 4),))  # noqa: E731
    first = Operation("GEMM", Engine.COMPUTE, ONE_STEP, (("act", 0, 4), ("wgt", 0, 4)), (("acc", 0, 4),))
    second = Operation("GEMM", Engine.COMPUTE, ONE_STEP, (("wgt", 0, 4), ("acc", 0, 4)), (("act", 8, 4),))
    store = Operation("STORE_ACT", Engine.STORE, {}, (("act", 8, 4),), (("dram", 0, 64),))
    again = Operation("LOAD_ACT", Engine.LOAD, {}, (("dram", 0, 64),), (("act", 0, 4),))
    syncs = synchronise([load("act"), load("wgt"), first, second, store, again], config, DRAM_BYTES)
    load_bit, compute_bit, store_bit = 1, 2, 4
    assert [sync.signal for sync in syncs] == [0, compute_bit, 0, store_bit, load_bit, 0]
    assert [sync.wait for sync in syncs] == [0, 0, load_bit, 0, compute_bit, store_bit]
    assert [sync.fence for sync in syncs] == [False, False, False, True, False, False]
