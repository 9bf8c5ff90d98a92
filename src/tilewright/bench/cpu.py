"""Networks on this processor, checked on fresh random inputs, beside onnxruntime and OpenVINO.

All engines take turns in one process, on as many processors as they have threads. With one thread the figure is the
processor's time, with more the time of the clock; each the median of many turns. A peer's figure is that of the form of
the model that it is fastest with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.bench.cpu_models import BF16, FLOAT, NETWORKS, float_form, quantized_models
from tilewright.bench.processors import pinned, thread_counts
from tilewright.bench.record import Record
from tilewright.bench.suites import Context
from tilewright.isa.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.bench.cpu_peers import Action
    from tilewright.cpu import CpuModel

SUITE = "cpu"

#: What a case's name says behind the network's, and the form of a model in floating point.
_FLOATS = {"_fp32": FLOAT, "_bf16": BF16}

#: Each network on one thread, on two, and on as many as there are processors; quantized, in fp32, and in bf16.
CASES = tuple(f"{name}{kind}_t{n}" for kind in ("", *_FLOATS) for n in thread_counts() for name in NETWORKS)

_TURNS = 25
_WARM = 3
_LEAST_SECONDS = 2e-3  # a turn repeats a fast model until the clock can be trusted
_REST_SECONDS = 0.1
_AGREEMENT = {FLOAT: "within a ten-thousandth of onnxruntime", BF16: "within a fifth of onnxruntime's fp32"}
_EXACT = "equal to the integer reference bit for bit"
_OURS = "tilewright"


@dataclass(frozen=True)
class _Engine:
    """What is timed: by whom, with which form of the model."""

    name: str
    form: str
    action: Action


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record one case: every engine's time, then what ours is in multiplications a second and beside the best peer."""
    kind, _, threads = case.rpartition("_t")
    suffix = next((suffix for suffix in _FLOATS if kind.endswith(suffix)), "")
    name, count = kind.removesuffix(suffix), int(threads)
    network = NETWORKS[name]
    metric = "cpu_milliseconds" if count == 1 else "wall_milliseconds"
    blank = Record(SUITE, case, "-", metric, None, "ms", "lower", threads=count)
    try:
        make = float_form if suffix else quantized_models
        forms = make(name, context.models, _folder())
    except (FileNotFoundError, ImportError) as error:
        yield replace(blank, reason=str(error))
        return
    if suffix:
        forms = {_FLOATS[suffix]: next(iter(forms.values()))}
    with pinned(count):
        yield from _compared(case, blank, network.macs, forms, count, context)


def _folder() -> Any:
    from tilewright.compiler.tir.object_cache import cache_directory

    return cache_directory() / "bench"


def _compared(
    case: str, blank: Record, macs: int, forms: Mapping[str, Any], count: int, context: Context
) -> Iterator[Record]:
    from tilewright import cpu
    from tilewright.bench.cpu_peers import PRECISIONS, peer_actions, precision, version

    is_partial = "full" in forms
    own = next(form for form in ("full", "u8", FLOAT, BF16) if form in forms)
    in_bf16 = "bf16" if own == BF16 else None
    context.progress(f"{case}: compiling", 0, _TURNS)
    try:
        model = cpu.compile_for_cpu(forms[own], threads=count, precision=in_bf16)
    except ConfigError as error:
        yield replace(blank, reason=str(error))
        return
    inputs = cpu.random_inputs(model.graph, np.random.default_rng(time.time_ns()))
    peers = peer_actions(forms, count)
    wrong = _wrong(model, inputs, forms[own])
    engines = [_Engine(_OURS, own, model)]
    engines += [_Engine(*key, action) for key, action in peers.items() if not isinstance(action, str)]
    if count > 1:
        engines.append(_Engine(_OURS, own, cpu.compile_for_cpu(forms[own], precision=in_bf16)))
    times = _times(engines, inputs, time.process_time if count == 1 else time.perf_counter, case, context)
    model.machine.close()
    if count > 1:
        alone, on = times[-1], f"{_OURS} {model.level}"
        engines, times = engines[:-1], times[:-1]
        yield replace(blank, metric="speedup", value=alone / times[0], unit="x", better="higher", ideal=count, on=on)
    peak = _peak(context, {FLOAT: "fp32", BF16: "bf16"}.get(own, "int8"))
    ideal = macs / peak / count * 1e3 if peak else None
    for (name, form), reason in peers.items():
        if isinstance(reason, str):
            yield replace(blank, on=version(name), precision=precision(form, is_partial), reason=reason)
    for engine, milliseconds in zip(engines[1:], times[1:], strict=True):
        yield replace(blank, value=milliseconds, on=version(engine.name), precision=precision(engine.form, is_partial))
    best = min(zip(times[1:], engines[1:], strict=True), key=lambda pair: pair[0], default=None)
    peer = None if best is None else f"{version(best[1].name)}, {precision(best[1].form, is_partial)}"
    peer_value = None if best is None else best[0]
    title = f"{_OURS} {model.level}"
    ours = replace(
        blank, value=times[0], ideal=ideal, peer=peer, peer_value=peer_value, on=title, wrong=wrong,
        checked=_checked(model), operations=2 * macs, bound=_bound(times[0], ideal),
        precision=f"{PRECISIONS[own]}; {_AGREEMENT.get(own, _EXACT)}",
    )  # fmt: skip
    yield ours
    yield from _derived(ours, macs, peak, count)


def _derived(ours: Record, macs: int, peak: float | None, count: int) -> Iterator[Record]:
    """Yield what follows from a time."""
    assert ours.value is not None
    plain = replace(ours, peer=None, peer_value=None, ideal=None, bound=None, wrong=None, checked=None, better="higher")
    speed = macs / ours.value / 1e6
    yield replace(plain, metric="speed", value=speed, unit="GMAC/s", ideal=peak * count / 1e9 if peak else None)
    share = None if peak is None else 100 * speed * 1e9 / (peak * count)
    reason = "no AVX-512 here" if share is None else None
    yield replace(plain, metric="share_of_peak", value=share, unit="%", reason=reason)
    if ours.peer_value is None:
        yield replace(plain, metric="ratio_to_best_peer", value=None, unit="x", reason="no peer ran")
        return
    yield replace(plain, metric="ratio_to_best_peer", value=ours.peer_value / ours.value, unit="x", peer=ours.peer)


def _bound(milliseconds: float, ideal: float | None) -> str | None:
    """Say what limits a network, from how far it is from the peak of the dot products."""
    if ideal is None:
        return None
    if milliseconds < 1.5 * ideal:
        return "products"
    return "epilogues, depthwise layers and calls" if milliseconds < 4 * ideal else "calls and small layers"


def _checked(model: CpuModel) -> int:
    return sum(int(np.prod(value.known_shape)) for value in model.outputs.values())


def _wrong(model: CpuModel, inputs: Mapping[str, NDArray[Any]], path: Path) -> int:
    """Count values that are not the reference's: of floats, those of onnxruntime, which is faster than ONNX's own."""
    from tilewright.arrays import count_far
    from tilewright.bench.cpu_peers import onnxruntime_session
    from tilewright.cpu import FAR_BY_PRECISION

    outputs = model(inputs)
    if not model.is_float:
        return sum(model.count_differences(inputs, outputs).values())
    try:
        expected: Any = onnxruntime_session(path, FLOAT, 1)(inputs)
    except ImportError:
        return sum(model.count_differences(inputs, outputs).values())
    far = FAR_BY_PRECISION[model.precision]
    return sum(count_far(array, outputs[name], far) for name, array in zip(model.outputs, expected, strict=True))


def _peak(context: Context, kind: str) -> float | None:
    from tilewright.bench.cpu_peak import measured_peak

    key = f"cpu peak {kind}"
    if key not in context.results:
        context.results[key] = measured_peak(kind)
    found = context.results[key]
    return found if isinstance(found, float) else None


def _times(
    engines: list[_Engine], inputs: Mapping[str, NDArray[Any]], clock: Callable[[], float], case: str, context: Context
) -> list[float]:
    """Time engines in turns; give each one's median in milliseconds."""
    repeats = [_repeats(engine, inputs) for engine in engines]
    found: list[list[float]] = [[] for _ in engines]
    time.sleep(_REST_SECONDS)  # the threads of NumPy's products, which spin, count as this process too
    for turn in range(_TURNS):
        context.progress(f"{case}: measuring", turn, _TURNS)
        for number, engine in enumerate(engines):
            if clock is time.perf_counter:  # threads of the one before may still look for work
                time.sleep(_REST_SECONDS)
                engine.action(inputs)
            start = clock()
            for _ in range(repeats[number]):
                engine.action(inputs)
            found[number].append((clock() - start) / repeats[number])
    return [median(times) * 1e3 for times in found]


def _repeats(engine: _Engine, inputs: Mapping[str, NDArray[Any]]) -> int:
    for _ in range(_WARM):
        engine.action(inputs)
    start = time.perf_counter()
    engine.action(inputs)
    return max(1, int(_LEAST_SECONDS / max(time.perf_counter() - start, 1e-6)))


def table(records: list[Record]) -> Table:
    """Lay the records out for people: a row for each figure, with who took it and what it was computed with."""
    from rich.markup import escape
    from rich.table import Table

    from tilewright.bench.tables import number

    found = Table(
        "case", "by", "precision", "metric", "value", "ideal", "best peer's", "bound by, or why there is none"
    )
    for record in records:
        value = "" if record.value is None else f"{number(record.value)} {record.unit}"
        others = ("" if figure is None else number(figure) for figure in (record.ideal, record.peer_value))
        texts = (
            record.on or "",
            record.precision or "",
            record.metric,
            value,
            *others,
            record.reason or record.bound or "",
        )
        found.add_row(record.case, *map(escape, texts))
    return found
