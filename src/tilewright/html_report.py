"""A run as one HTML file that needs nothing else: roofline, engines, layers, energy, comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from tilewright.api import Compiled, Run
    from tilewright.sim.trace.stream import TimedStream

_DATA = files("tilewright") / "data"

#: Windows over which bandwidth and scratchpads are averaged.
_WINDOWS, _LEAST_WINDOW_CYCLES = 400, 16


def html_report(
    compiled: Compiled,
    result: Run,
    data: Mapping[str, Any],
    bytes_per_cycle: float,
    clock_mhz: float,
    others: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Give the report of a run as the text of an HTML file.

    Parameters
    ----------
    compiled : Compiled
        What was run.
    result : Run
    data : mapping
        All its figures, from `run_data`.
    bytes_per_cycle : float
        What the memory port carries one way.
    clock_mhz : float
        Of the accelerator: turns cycles into time.
    others : sequence of mapping
        Runs to compare with, from `read_comparison`.
    """
    content = {
        **data,
        "short_names": _short_names(data["layers"]),
        "bytes_per_cycle": bytes_per_cycle,
        "clock_mhz": clock_mhz,
        "series": _series(compiled, result) if data["engines"] is not None else None,
        "others": list(others),
    }
    title = f"{data['model']} on {data['config']}"
    page = (_DATA / "report.html").read_text(encoding="utf-8")
    for mark, text in (
        ("@title@", _escape(title)),
        ("/*style*/", (_DATA / "report.css").read_text(encoding="utf-8")),
        ("/*script*/", (_DATA / "report.js").read_text(encoding="utf-8")),
        ("@data@", json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")),
    ):
        page = page.replace(mark, text)
    return page


def _short_names(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Shorten the names of the device's layers as timelines do, and those of the host's by themselves."""
    from tilewright.sim.trace.stream import short_names

    names = [[layer["name"] for layer in layers if layer["place"] == place] for place in ("device", "host")]
    device, host = (iter(short_names(some)) for some in names)
    return [next(device if layer["place"] == "device" else host) for layer in layers]


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _series(compiled: Compiled, result: Run) -> dict[str, Any]:
    """Give what changes over time, launches one after the other."""
    from tilewright.sim.trace.series import SPACES
    from tilewright.sim.trace.stream import timed_streams

    launches = timed_streams(compiled.program, result.launches)
    total = sum(timed.cycles for timed in launches)
    parts = [_launch_series(timed, total) for timed in launches]
    joined: dict[str, Any] = {name: [v for part in parts for v in part[name]] for name in ("times", "read", "write")}
    occupancy = {space: [v for part in parts for v in part["occupancy"][space]] for space in SPACES}
    bars = [bar for timed in launches for bar in _layer_bars(timed)]
    return {**joined, "cycles": total, "occupancy": occupancy, "layers": bars}


def _launch_series(timed: TimedStream, total: int) -> dict[str, Any]:
    from tilewright.isa.instructions import Engine
    from tilewright.sim.accesses import accesses
    from tilewright.sim.trace.series import bandwidth, occupancy, windows

    counts = accesses(timed.stream.program)
    edges = windows(timed.cycles, max(1, _WINDOWS * timed.cycles // max(1, total)), _LEAST_WINDOW_CYCLES)
    used = occupancy(timed, edges)
    return {
        "times": (timed.origin + edges[:-1]).tolist(),
        "read": bandwidth(timed, counts, Engine.LOAD, edges).values.round(4).tolist(),
        "write": bandwidth(timed, counts, Engine.STORE, edges).values.round(4).tolist(),
        "occupancy": {space: series.values.round(4).tolist() for space, series in used.items()},
    }


def _layer_bars(timed: TimedStream) -> list[dict[str, Any]]:
    bars = []
    for layer in np.unique(timed.stream.layer_of).tolist():
        of = timed.stream.layer_of == layer
        begin, end = timed.origin + int(timed.start[of].min()), timed.origin + int(timed.end[of].max())
        bars.append({"name": timed.stream.layer_names[layer], "begin": begin, "end": end})
    return bars


def read_comparison(path: str | Path) -> dict[str, Any]:
    """Read what another run wrote with `--json`, as much of it as a comparison needs.

    A run has `model` and `layers`, each with a `name`; what else it has is shown: `cycles`, `seconds_per_run` (for runs
    on a CPU or GPU), `utilization`, `energy`.

    Raises
    ------
    InputError
        When it cannot be read, or is no run.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"`{path}` is not JSON: {error}") from None
    layers = data.get("layers") if isinstance(data, dict) else None
    if not isinstance(layers, list) or not all(isinstance(one, dict) and "name" in one for one in layers):
        raise InputError(f"`{path}` is not a run written by `tilewright run --json`: it has no `layers` with names")
    kept = ("model", "config", "simulator", "cycles", "seconds_per_run", "utilization", "energy", "work")
    numbers = ("name", "cycles", "seconds_per_run", "energy")
    return {
        "file": Path(path).name,
        **{name: data[name] for name in kept if name in data},
        "layers": [{name: layer[name] for name in numbers if name in layer} for layer in layers],
    }
