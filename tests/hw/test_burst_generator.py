"""Bursts cover their request exactly, within the rules of AXI."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from tests.hw.axi_memory import check_burst
from tilewright.hw.axi import PAGE_BYTES
from tilewright.hw.burst_generator import BurstGenerator
from tilewright.isa.config import Config
from tilewright.isa.sections import Bus

BEATS_BITS = 12


def run_requests(config: Config, limit: int, requests: list[dict], rng, stall: float) -> list[tuple[int, dict]]:
    """Return (cycle, burst) of all bursts until the requests' last."""
    generator = BurstGenerator(config, limit, BEATS_BITS)
    bursts: list[tuple[int, dict]] = []

    async def bench(ctx):
        queue = list(requests)
        for cycle in range(20000):
            ctx.set(generator.request.valid, bool(queue))
            if queue:
                ctx.set(generator.request.payload, queue[0])
            ctx.set(generator.burst.ready, rng.random() >= stall)
            if queue and ctx.get(generator.request.ready):
                queue.pop(0)
            if ctx.get(generator.burst.valid) and ctx.get(generator.burst.ready):
                payload = generator.burst.payload
                bursts.append((cycle, {n: ctx.get(payload[n]) for n in ("beat", "length", "last", "empty")}))
            await ctx.tick()
            if not queue and sum(b["last"] for _, b in bursts) == sum(r["last"] for r in requests):
                return

    simulator = Simulator(generator)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return bursts


@pytest.mark.parametrize("data_bits", [64, 512])
@pytest.mark.parametrize("limit", [1, 4, 64])
def test_bursts_cover_each_request(data_bits, limit, python_random):
    config = Config(bus=Bus(data_bits=data_bits, burst_beats=limit))
    top = (1 << 20) // config.bus_bytes
    requests = [
        {"beat": python_random.randrange(top), "more": python_random.randrange(150), "last": 1, "empty": 0}
        for _ in range(40)
    ]
    bursts = [b for _, b in run_requests(config, limit, requests, python_random, stall=0.4)]
    for request in requests:
        beat, end = request["beat"], request["beat"] + 1 + request["more"]
        while beat < end:
            burst = bursts.pop(0)
            assert burst["beat"] == beat
            check_burst(config, beat * config.bus_bytes, burst["length"] + 1)
            beat += burst["length"] + 1
            assert burst["last"] == (beat == end)
            assert beat >= end or beat % limit == 0  # only the last may end anywhere
    assert bursts == []


def test_one_burst_a_cycle_and_empty_requests_in_order(python_random):
    config = Config(bus=Bus(data_bits=128, burst_beats=16))
    requests = [{"beat": 16 * i, "more": 6, "last": 0, "empty": 0} for i in range(8)]
    requests += [{"beat": 0, "more": 100, "last": 1, "empty": 1}]
    bursts = run_requests(config, 16, requests, python_random, stall=0)
    cycles = [cycle for cycle, _ in bursts]
    assert cycles == list(range(cycles[0], cycles[0] + 9))
    assert [b["empty"] for _, b in bursts] == [0] * 8 + [1]


def test_a_burst_longer_than_a_page_is_refused():
    config = Config(bus=Bus(data_bits=512))
    with pytest.raises(ValueError, match=f"at most {PAGE_BYTES} bytes, not 128 beats"):
        BurstGenerator(config, 128, BEATS_BITS)
