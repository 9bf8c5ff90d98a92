"""Token counters against a plain model; none is ever lost."""

from __future__ import annotations

from amaranth.sim import Simulator

from tilewright.hw.timing import DMA_IN_FLIGHT
from tilewright.hw.tokens import TokenCounters
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.sections import Queue

ENGINES = list(Engine)


def simulate(counters: TokenCounters, bench) -> None:
    simulator = Simulator(counters)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_grants_follow_the_model(python_random):
    for _ in range(30):  # random programs soon fill a circle of counters, so that nothing starts any more
        check_grants(python_random, cycles=100)


def check_grants(python_random, cycles: int) -> None:
    counters = TokenCounters(Config(queue=Queue(token_bits=2)))
    full = 3
    grants = dict.fromkeys(ENGINES, 0)

    async def bench(ctx):
        model = {(g, t): 0 for g in ENGINES for t in g.others}
        in_flight = {e: [] for e in ENGINES}  # signal masks of what has started
        for _ in range(cycles):
            wanted = {}
            for engine in ENGINES:
                port = getattr(counters, engine)
                available = sum((model[g, engine] > 0) << i for i, g in enumerate(engine.others))
                mask = available if python_random.random() < 0.5 else python_random.randrange(4)
                wanted[engine] = (mask, python_random.random() < 0.6)
                ctx.set(port.wait_mask, wanted[engine][0])
                ctx.set(port.wait_request, wanted[engine][1])
                finishes = bool(in_flight[engine]) and python_random.random() < 0.5
                ctx.set(port.signal_valid, finishes)
                ctx.set(port.signal_mask, in_flight[engine][0] if finishes else python_random.randrange(4))
            change = dict.fromkeys(model, 0)
            refused = False
            for engine in ENGINES:
                port, (mask, request) = getattr(counters, engine), wanted[engine]
                has = all(model[g, engine] for i, g in enumerate(engine.others) if mask >> i & 1)
                fits = all(model[engine, t] < full for t in engine.others)
                assert ctx.get(port.wait_grant) == (has and fits)
                refused |= request and not (has and fits)
                if ctx.get(port.signal_valid):
                    given = in_flight[engine].pop(0)
                    for i, taker in enumerate(engine.others):
                        change[engine, taker] += given >> i & 1
                if request and has and fits:
                    grants[engine] += 1
                    in_flight[engine].append(python_random.randrange(4))
                    for i, giver in enumerate(engine.others):
                        change[giver, engine] -= mask >> i & 1
            assert ctx.get(counters.waiting) == refused
            await ctx.tick()
            for pair, delta in change.items():
                model[pair] += delta

    simulate(counters, bench)
    assert min(grants.values()) > 1


def test_all_that_may_be_in_flight_fit_into_a_full_counter():
    counters = TokenCounters(Config(queue=Queue(token_bits=2)))
    given = 2 + DMA_IN_FLIGHT  # the last start was granted at two

    async def bench(ctx):
        ctx.set(counters.load.signal_valid, 1)
        ctx.set(counters.load.signal_mask, 1)
        await ctx.tick().repeat(given)
        ctx.set(counters.load.signal_valid, 0)
        assert not ctx.get(counters.load.wait_grant)
        ctx.set(counters.compute.wait_mask, 1)
        ctx.set(counters.compute.wait_request, 1)
        for _ in range(given):
            assert ctx.get(counters.compute.wait_grant)
            await ctx.tick()
        assert not ctx.get(counters.compute.wait_grant)
        assert ctx.get(counters.load.wait_grant)

    simulate(counters, bench)
