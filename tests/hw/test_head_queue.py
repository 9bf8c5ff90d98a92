"""The queue with its head in a register: in every cycle what Amaranth's queue is, whose head comes from a memory."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.fifo import SyncFIFO
from amaranth.sim import Simulator

from tilewright.hw.head_queue import HeadQueue

CYCLES = 1500


@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_it_is_a_queue_in_every_cycle(depth: int, python_random: random.Random) -> None:
    queue, reference = HeadQueue(8, depth), SyncFIFO(width=8, depth=depth)
    m = Module()
    m.submodules += queue, reference
    m.d.comb += [
        reference.w_data.eq(queue.input.payload),
        reference.w_en.eq(queue.input.valid),
        reference.r_en.eq(queue.output.ready),
    ]
    levels = set()

    async def drive(ctx) -> None:
        for cycle in range(CYCLES):
            ctx.set(queue.input.payload, python_random.randrange(256))
            ctx.set(queue.input.valid, python_random.random() < (0.2, 0.5, 0.9)[cycle // 100 % 3])
            ctx.set(queue.output.ready, python_random.random() < (0.2, 0.9, 0.5)[cycle // 130 % 3])
            await ctx.delay(1e-9)
            assert ctx.get(queue.input.ready) == ctx.get(reference.w_rdy), cycle
            assert ctx.get(queue.output.valid) == ctx.get(reference.r_rdy), cycle
            if ctx.get(reference.r_rdy):
                assert ctx.get(queue.output.payload) == ctx.get(reference.r_data), cycle
            levels.add(ctx.get(reference.level))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert levels == set(range(depth + 1))
