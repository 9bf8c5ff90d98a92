"""How fast the simulators run the default model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context

SUITE = "simulators"
CASES = ("functional", "fast", "rtl")
_REPEATS = 3


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record the speed of one simulator, building it not counted."""
    array = array_of(context.config)
    if case == "fast":
        yield Record(SUITE, case, array, "speed", None, "GMAC/s", "higher", reason="not offered by the commands yet")
        return
    from tilewright import api
    from tilewright.demo import default_model, default_samples

    compiled = api.compile(default_model(), context.config)
    simulator = context.simulator(case)
    (inputs,), _ = default_samples(1)
    report = compiled.run(inputs, on=simulator).report  # also warms up
    seconds = _best(lambda: compiled.run(inputs, on=simulator).report.seconds["device"])
    yield Record(
        SUITE,
        case,
        array,
        "speed",
        round(report.macs / seconds / 1e9, 4),
        "GMAC/s",
        "higher",
        config_hash=context.config.hash,
    )
    if report.cycles is not None:
        yield Record(
            SUITE,
            case,
            array,
            "clock",
            round(report.cycles / seconds / 1e3, 1),
            "kHz",
            "higher",
            config_hash=context.config.hash,
        )


def _best(run: Callable[[], float]) -> float:
    return min(run() for _ in range(_REPEATS))
