"""The load engine against the meaning of its instructions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from tests.hw.axi_memory import Chance, ReadMemory
from tests.hw.reference import Memories, draw_of_engine, execute, random_memories
from tilewright.hw.load_engine import LoadEngine
from tilewright.hw.read_port import ReadPort
from tilewright.hw.timing import DMA_ADDRESS_CYCLES, LOAD_PADDING_CYCLES, LOAD_WRITE_CYCLES
from tilewright.isa.config import Config
from tilewright.isa.generator import Limits
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set
from tilewright.isa.sections import Bus, Gemm, Memory

BASE = 0x3000
DRAM_BYTES = 16384


def config_of(batch: int, block_in: int, block_out: int, data_bits: int, **bus: int) -> Config:
    return Config(
        gemm=Gemm(batch=batch, block_in=block_in, block_out=block_out),
        memory=Memory(act_kib=4, wgt_kib=16, acc_kib=2, prm_entries=16),
        bus=Bus(data_bits=data_bits, **bus),
    )


SHAPES = [
    (1, 4, 4, 64), (1, 4, 4, 128), (1, 4, 4, 512), (1, 8, 8, 64), (1, 16, 16, 64), (1, 16, 16, 128), (1, 16, 16, 256),
    (2, 16, 32, 512), (2, 4, 8, 64), (4, 8, 16, 128), (1, 32, 8, 256),
]  # fmt: skip


@dataclass
class LoadBench:
    """A load engine with its read port, a memory, and scratchpads that accept at random."""

    isa: InstructionSet
    arrays: Memories
    rng: random.Random
    stall: float = 0.3
    latency: int = 5
    engine: LoadEngine = field(init=False)
    finished: list = field(default_factory=list)
    starts: list = field(default_factory=list)
    writes: int = 0

    def run(self, words: list[int]) -> ReadMemory:
        """Run instructions until as many have finished; return the memory with its notes."""
        m = Module()
        self.engine = m.submodules.engine = LoadEngine(self.isa)
        m.submodules.port = port = ReadPort(self.isa.config)
        connect(m, self.engine.burst, port.load)
        connect(m, port.load_beat, self.engine.beat)
        dram = np.concatenate([np.zeros(BASE, np.uint8), self.arrays["dram"]])
        memory = ReadMemory(self.isa.config, port.axi, dram, Chance(self.rng, self.stall), self.latency)

        async def bench(ctx):
            ctx.set(port.base, BASE)
            queue = list(words)
            for _ in range(60000):
                self._drive(ctx, queue)
                memory.drive(ctx)
                self._observe(ctx, queue, memory.cycle)
                memory.observe(ctx)
                await ctx.tick()
                if len(self.finished) == len(words):
                    break
            assert not ctx.get(self.engine.busy)

        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return memory

    def _drive(self, ctx, queue):
        ctx.set(self.engine.instruction.valid, bool(queue))
        ctx.set(self.engine.instruction.payload, queue[0] if queue else 0)
        ctx.set(self.engine.tokens.wait_grant, self.rng.random() >= self.stall)
        for half in self.engine.act:
            ctx.set(half.ready, self.rng.random() >= self.stall)

    def _observe(self, ctx, queue, cycle):
        engine = self.engine
        if ctx.get(engine.start):
            queue.pop(0)
            self.starts.append(cycle)
        for parity, half in enumerate(engine.act):
            self._observe_row(ctx, parity, half)
        for space in ("wgt", "prm", "tbl"):
            self._observe_entry(ctx, space, getattr(engine, space, None))
        if ctx.get(engine.tokens.signal_valid):
            self.finished.append((cycle, ctx.get(engine.tokens.signal_mask)))

    def _observe_row(self, ctx, parity, half):
        if not (ctx.get(half.valid) and ctx.get(half.ready)):
            return
        row, config = ctx.get(half.payload.row), self.isa.config
        assert row % 2 == parity
        data = ctx.get(half.payload.data.as_value()).to_bytes(config.row_bytes, "little")
        atoms = np.frombuffer(data, np.int8).reshape(config.ratio, config.atom_bytes)
        self.arrays["act"][row * config.ratio : (row + 1) * config.ratio] = atoms
        self.writes += 1

    def _observe_entry(self, ctx, space, port):
        if port is None or not ctx.get(port.valid):
            return
        width = port.signature.chunk_bits // 8
        target = self.arrays[space].view(np.uint8)[ctx.get(port.entry)]
        first = ctx.get(port.chunk) * width
        target[first : first + width] = np.frombuffer(ctx.get(port.data).to_bytes(width, "little"), np.uint8)
        self.writes += 1


def copied(arrays: Memories) -> Memories:
    return {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_random_loads_fill_the_memories(shape, rng, python_random):
    isa = instruction_set(config_of(*shape, burst_beats=8, reads_in_flight=4))
    arrays = random_memories(isa, rng, DRAM_BYTES)
    limits = Limits(steps=40, dram_bytes=DRAM_BYTES)
    program = [draw_of_engine(isa, Engine.LOAD, python_random, limits) for _ in range(25)]
    masks = [python_random.randrange(4) for _ in program]
    words = [p.instruction.encode({**p.values, "signal": s}) for p, s in zip(program, masks, strict=True)]
    expected = copied(arrays)
    for p in program:
        execute(isa, p.instruction.name, p.values, expected)

    bench = LoadBench(isa, arrays, python_random, latency=python_random.randrange(1, 20))
    bench.run(words)

    assert [mask for _, mask in bench.finished] == masks
    for space in ("act", "wgt", "prm", "tbl"):
        np.testing.assert_array_equal(arrays[space], expected[space], err_msg=space)


def row_loads(isa: InstructionSet, rows: int, run: int, count: int, **values: int) -> list[int]:
    """Return `count` equal loads of `rows` runs of `run` rows, far apart in DRAM."""
    box = {"extent_run": run, "extent0": rows, "extent1": 1, "extent2": 1, "stride0": run, "dram_stride0": 320}
    return [isa.by_name["LOAD_ACT"].encode({**box, **values})] * count


def test_short_runs_fill_the_bus_across_instructions(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = LoadBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=30)
    memory = bench.run(row_loads(isa, rows=5, run=7, count=6))
    beats = memory.beat_cycles
    assert len(beats) == 5 * 7 * 6
    assert beats[-1] - beats[0] == len(beats) - 1


def test_padding_costs_a_cycle_a_row(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = LoadBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=3)
    pads = {"pad_left": 1, "pad_right": 1, "pad_top": 1, "pad_bottom": 1, "pad_value": -7}
    bench.run(row_loads(isa, rows=4, run=6, count=4, **pads))
    spacing = np.diff([cycle for cycle, _ in bench.finished])
    assert bench.writes == 4 * 6 * 8
    assert set(spacing) == {6 * 8}


@pytest.mark.parametrize("zero", ["extent_run", "extent0", "extent1", "extent2"])
def test_nothing_is_read_for_a_zero_extent_but_tokens_go(zero, rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = LoadBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0)
    memory = bench.run(row_loads(isa, rows=2, run=3, count=3, signal=2, **{zero: 0}))
    assert memory.bursts == [] and bench.writes == 0
    assert [mask for _, mask in bench.finished] == [2, 2, 2]


def test_latencies_are_those_of_the_timing_facts(rng, python_random):
    isa = instruction_set(config_of(1, 16, 16, 128))
    bench = LoadBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0, latency=9)
    memory = bench.run(row_loads(isa, rows=1, run=1, count=1))
    (start,), (finish, _) = bench.starts, bench.finished[0]
    assert memory.beat_cycles == [start + DMA_ADDRESS_CYCLES + 9]
    assert finish == memory.beat_cycles[0] + LOAD_WRITE_CYCLES

    bench = LoadBench(isa, random_memories(isa, rng, DRAM_BYTES), python_random, stall=0)
    bench.run([*row_loads(isa, rows=0, run=1, count=1, pad_top=1), *row_loads(isa, rows=0, run=1, count=1)])
    assert [finish - bench.starts[0] for finish, _ in bench.finished] == [LOAD_PADDING_CYCLES, LOAD_PADDING_CYCLES + 1]
    assert np.diff(bench.starts) == [1]
