"""How long compiling takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tilewright.bench.convolutions import convolution_model
from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context
from tilewright.compiler.targets.accelerator.workloads import VTA_LAYERS

SUITE = "compile"
CASES = ("resnet8", "C2")


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record the seconds from a model in memory to a program, the best of three."""
    from tilewright import api
    from tilewright.demo import default_model

    model = default_model() if case == "resnet8" else convolution_model(VTA_LAYERS[0])
    seconds = []
    for done in range(3):
        context.progress(case, done, 3)
        start = time.perf_counter()
        api.compile(model, context.config)
        seconds.append(time.perf_counter() - start)
    yield Record(
        SUITE,
        case,
        array_of(context.config),
        "time",
        round(min(seconds), 3),
        "s",
        "lower",
        config_hash=context.config.hash,
    )
