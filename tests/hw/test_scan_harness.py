"""The scan harness: what is shifted in arrives, what leaves is what was there."""

from __future__ import annotations

from amaranth.sim import Simulator

from tests.fpga.registered_sum import RegisteredSum
from tilewright.hw.scan_harness import ScanHarness


def test_the_harness_shifts_in_and_out(python_random) -> None:
    harness = ScanHarness(RegisteredSum())
    seen = []

    async def drive(ctx) -> None:
        for _ in range(20):
            a, b = python_random.randrange(256), python_random.randrange(256)
            word = a | b << 8
            for i in reversed(range(16)):
                ctx.set(harness.scan_in, word >> i & 1)
                await ctx.tick()
            ctx.set(harness.scan_in, 0)
            ctx.set(harness.load, 1)
            await ctx.tick()
            ctx.set(harness.load, 0)
            for _ in range(5):
                await ctx.tick()
            assert (ctx.get(harness.design.a), ctx.get(harness.design.b)) == (a, b)
            assert ctx.get(harness.design.total) == a + b
            ctx.set(harness.load, 1)
            await ctx.tick()
            ctx.set(harness.load, 0)
            await ctx.tick()
            await ctx.tick()
            found = 0
            for i in range(9):
                found |= ctx.get(harness.scan_out) << i
                await ctx.tick()
            seen.append(found == a + b)

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert len(seen) == 20 and all(seen)
