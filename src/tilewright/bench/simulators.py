"""How fast the simulators run the default model, and whether their cycles agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context
from tilewright.isa.instructions import instruction_set
from tilewright.sim.api import Simulator

SUITE = "simulators"
CASES = ("functional", "rtl", "fast")
_REPEATS = 3


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record the speed of one simulator, building it not counted: the best of three runs after a first one.

    `fast` keeps what it has decoded of the last program, so that its clock is measured with new simulators, each of
    which decodes the program, as `clock_again` with one that knows it, and as `clock_times_only` with one that knows
    it and computes no results. Where `rtl` ran before in the same context, `fast` is compared with it.
    """
    from tilewright import api
    from tilewright.demo import default_model, default_samples
    from tilewright.sim.fast import FastSimulator

    compiled = api.compile(default_model(), context.config)
    (inputs,), _ = default_samples(1)
    known = context.simulator(case)
    report = compiled.run(inputs, on=known).report  # also warms up

    def new() -> Simulator:
        return api.simulator(case, context.config, dram=context.dram)

    def best(make: Callable[[], Simulator]) -> float:
        seconds = []
        for done in range(_REPEATS):
            context.progress(case, done, _REPEATS)
            simulator = make()
            seconds.append(compiled.run(inputs, on=simulator).report.seconds["device"])
        return min(seconds)

    record = partial(Record, SUITE, case, array_of(context.config), config_hash=context.config.hash, on=case)
    seconds = best(new if case == "fast" else lambda: known)
    yield record("speed", round(report.macs / seconds / 1e9, 4), "GMAC/s", "higher")
    if report.cycles is None:
        return
    clock = report.cycles / seconds / 1e3
    context.results[SUITE, case] = (report.cycles, clock)
    record = partial(record, latency_cycles=context.dram.latency_cycles, bytes_per_cycle=context.dram.bytes_per_cycle)
    yield record("clock", round(clock, 1), "kHz", "higher")
    if case == "fast":
        again = report.cycles / best(lambda: known) / 1e3
        yield record("clock_again", round(again, 1), "kHz", "higher")
        timer = FastSimulator(instruction_set(context.config), context.dram, compute_results=False)
        compiled.run(inputs, on=timer)
        yield record("clock_times_only", round(report.cycles / best(lambda: timer) / 1e3, 1), "kHz", "higher")
        rtl = context.results.get((SUITE, "rtl"))
        if not isinstance(rtl, tuple):
            reason = "rtl is not measured in this run"
            yield record("times_rtl", None, "x", "higher", reason=reason)
            yield record("cycle_error", None, "cycles", "lower", reason=reason)
            return
        cycles, rtl_clock = rtl
        yield record("times_rtl", round(clock / rtl_clock, 1), "x", "higher")
        yield record("cycle_error", abs(report.cycles - cycles), "cycles", "lower", ideal=0)
