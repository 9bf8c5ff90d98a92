"""The store engine against the meaning of its instruction."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from tests.hw.axi_memory import Chance, WriteMemory
from tests.hw.reference import Memories, draw_of_engine, execute, random_memories
from tests.hw.test_load_engine import SHAPES, config_of
from tilewright.hw.store_engine import StoreEngine
from tilewright.hw.timing import (
    DMA_ADDRESS_CYCLES,
    STORE_BEAT_CYCLES,
    STORE_FINISH_CYCLES,
    STORE_READ_CYCLES,
    act_read_cycles,
)
from tilewright.hw.write_port import WritePort
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set

BASE = 0x3000
DRAM_BYTES = 16384


@dataclass
class StoreBench:
    """A store engine with its write port, a memory, and a scratchpad that serves at random."""

    isa: InstructionSet
    arrays: Memories
    rng: random.Random
    stall: float = 0.3
    latency: int = 5
    error_at: int | None = None
    engine: StoreEngine = field(init=False)
    finished: list = field(default_factory=list)
    starts: list = field(default_factory=list)
    errors: int = 0
    requests: list = field(default_factory=list)

    def run(self, words: list[int], drain_at: int | None = None) -> WriteMemory:
        """Run instructions until as many have finished, or until drained; return the memory with its notes."""
        m = Module()
        self.engine = m.submodules.engine = StoreEngine(self.isa)
        m.submodules.port = port = WritePort(self.isa.config)
        connect(m, self.engine.burst, port.burst)
        connect(m, self.engine.beat, port.beat)
        m.d.comb += self.engine.written.eq(port.finish)
        dram = np.concatenate([np.zeros(BASE, np.uint8), self.arrays["dram"]])
        chance = Chance(self.rng, self.stall)
        memory = WriteMemory(self.isa.config, port.axi, dram, chance, self.latency, self.error_at)

        async def bench(ctx):
            ctx.set(port.base, BASE)
            queue = list(words)
            reads = deque([None] * act_read_cycles(self.isa.config))
            for cycle in range(60000):
                self._drive(ctx, queue, reads)
                ctx.set(port.drain, drain_at is not None and cycle >= drain_at)
                memory.drive(ctx)
                self._observe(ctx, queue, reads, cycle)
                self.errors += ctx.get(port.error)
                memory.observe(ctx)
                await ctx.tick()
                is_drained = drain_at is not None and cycle > drain_at and not ctx.get(port.busy)
                if len(self.finished) == len(words) or is_drained:
                    break
            assert not ctx.get(port.busy)
            assert drain_at is not None or not ctx.get(self.engine.busy)

        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        self.arrays["dram"][:] = memory.dram[BASE:]
        return memory

    def _drive(self, ctx, queue, reads):
        engine = self.engine
        ctx.set(engine.instruction.valid, bool(queue))
        ctx.set(engine.instruction.payload, queue[0] if queue else 0)
        ctx.set(engine.tokens.wait_grant, self.rng.random() >= self.stall)
        ctx.set(engine.rows.request.ready, self.rng.random() >= self.stall)
        answer = reads.popleft()
        ctx.set(engine.rows.response_valid, answer is not None)
        if answer is not None:
            ctx.set(engine.rows.response.as_value(), answer)

    def _observe(self, ctx, queue, reads, cycle):
        engine, ratio = self.engine, self.isa.config.ratio
        if ctx.get(engine.start):
            queue.pop(0)
            self.starts.append(cycle)
        asked = ctx.get(engine.rows.request.valid) and ctx.get(engine.rows.request.ready)
        if asked:
            self.requests.append(cycle)
        row = ctx.get(engine.rows.request.payload)
        data = self.arrays["act"][row * ratio : (row + 1) * ratio].tobytes()
        reads.append(int.from_bytes(data, "little") if asked else None)
        if ctx.get(engine.tokens.signal_valid):
            self.finished.append((cycle, ctx.get(engine.tokens.signal_mask)))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_random_stores_fill_dram(shape, rng, python_random):
    isa = instruction_set(config_of(*shape, burst_beats=8, writes_in_flight=4))
    arrays = random_memories(isa, rng, DRAM_BYTES)
    limits = Limits(steps=40, dram_bytes=DRAM_BYTES)
    program = [draw_of_engine(isa, Engine.STORE, python_random, limits) for _ in range(25)]
    masks = [python_random.randrange(4) for _ in program]
    words = [p.instruction.encode({**p.values, "signal": s}) for p, s in zip(program, masks, strict=True)]
    expected = {name: array.copy() for name, array in arrays.items()}
    for p in program:
        execute(isa, p.instruction.name, p.values, expected)

    bench = StoreBench(isa, arrays, python_random, latency=python_random.randrange(1, 20))
    bench.run(words)

    assert [mask for _, mask in bench.finished] == masks
    np.testing.assert_array_equal(arrays["dram"], expected["dram"])


def store_word(isa: InstructionSet, **values: int) -> int:
    """Return a store of five runs of seven rows, unless told otherwise."""
    box = {"extent_run": 7, "extent0": 5, "extent1": 1, "extent2": 1, "stride0": 7, "dram_stride0": 512}
    return isa.by_name["STORE_ACT"].encode({**box, **values})


def test_short_runs_fill_the_bus_across_instructions(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = StoreBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=6)
    memory = bench.run([store_word(isa)] * 6)
    beats = memory.beat_cycles
    assert len(beats) == 5 * 7 * 6
    assert beats[-1] - beats[0] == len(beats) - 1


@pytest.mark.parametrize("zero", ["extent_run", "extent0", "extent1", "extent2"])
def test_empty_stores_finish_in_order(zero, rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = StoreBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=40)
    memory = bench.run([store_word(isa, signal=1), store_word(isa, signal=2, **{zero: 0}), store_word(isa, signal=3)])
    assert sum(beats for _, beats in memory.bursts) == 2 * 5 * 7
    assert [mask for _, mask in bench.finished] == [1, 2, 3]
    assert bench.finished[1][0] - bench.finished[0][0] == 1


def test_draining_completes_bursts_without_writing(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 64, writes_in_flight=2))
    arrays = random_memories(isa, rng, DRAM_BYTES)
    expected = {name: array.copy() for name, array in arrays.items()}
    before = arrays["dram"].copy()
    execute(isa, "STORE_ACT", isa.by_name["STORE_ACT"].decode(store_word(isa)), expected)
    bench = StoreBench(isa, arrays, python_random)
    memory = bench.run([store_word(isa)], drain_at=40)
    assert 0 < len(memory.beat_cycles) < 2 * 5 * 7
    assert not memory.data and not memory.responses and not memory.addresses
    changed = arrays["dram"] != before
    assert changed.any()
    np.testing.assert_array_equal(arrays["dram"][changed], expected["dram"][changed])
    assert (arrays["dram"] != expected["dram"]).any()


def test_a_response_with_an_error_is_reported_once(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = StoreBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, error_at=BASE + 2 * 512)
    bench.run([store_word(isa)])
    assert bench.errors == 1


@pytest.mark.parametrize("ratio", [1, 2])
def test_latencies_are_those_of_the_timing_facts(ratio, rng, python_random):
    isa = instruction_set(config_of(1, 16, 16 // ratio, 128))
    latency = 9
    bench = StoreBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=latency)
    memory = bench.run([store_word(isa, extent_run=1, extent0=1)])
    (start,), (finish, _) = bench.starts, bench.finished[0]
    assert bench.requests == [start + STORE_READ_CYCLES]
    assert memory.burst_cycles == [start + DMA_ADDRESS_CYCLES]
    assert memory.beat_cycles == [bench.requests[0] + act_read_cycles(isa.config) + STORE_BEAT_CYCLES]
    assert finish == memory.beat_cycles[0] + latency + STORE_FINISH_CYCLES
