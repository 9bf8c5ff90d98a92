"""What `tilewright sweep` shows: progress, and tables of points and layers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tilewright.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.sweep.engine import Progress
    from tilewright.sweep.study import Point, Study


def front_table(study: Study, points: list[Point], title: str) -> Table:
    """Show points: their parameters, their objectives, and what confirmed them."""
    from rich.table import Table

    from tilewright.sweep.confirm import confirmation

    table = Table(title=title, title_justify="left")
    table.add_column("point", justify="right")
    for path in study.space.parameters:
        table.add_column(path.split(".")[1], justify="right")
    for name in study.space.objectives:
        table.add_column(name, justify="right", style="bold", no_wrap=True)
    table.add_column("confirmed by")
    for point in points:
        values = [str(value).lower() for value in point.chosen.values()]
        metrics = [f"{point.metrics[name]:,.0f}" for name in study.space.objectives]
        table.add_row(f"#{point.number}", *values, *metrics, confirmation(study, point.number).level)
    return table


class Live:
    """The progress of a sweep, on a terminal: counts, rate, best values, time left."""

    def __init__(self, terminal: Terminal, study: Study):
        self.evaluated = 0
        self._step = terminal.step("sweep")
        self._objectives = study.space.objectives
        self._best: dict[str, float] = {}
        self._start = time.perf_counter()

    def __enter__(self) -> Live:
        self._progress = self._step.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._step.__exit__(*error)

    def update(self, progress: Progress, point: Point) -> None:
        """Show a point that has been kept."""
        self.evaluated += 1
        for name in self._objectives if point.state == "done" else ():
            self._best[name] = min(self._best.get(name, point.metrics[name]), point.metrics[name])
        rate = self.evaluated / max(time.perf_counter() - self._start, 1e-9)
        told = progress.done + progress.failed
        best = ", ".join(f"{name} {value:,.0f}" for name, value in self._best.items())
        text = (
            f"{told}/{progress.total} points ({progress.failed} failed, {progress.skipped} skipped), "
            f"{60 * rate:.0f} a minute, {(progress.total - told) / rate:.0f} s left; best {best}"
        )
        self._progress(text, told, progress.total)


def layer_table(result: dict[str, Any]) -> Table:
    """Show what a point's models take, layer by layer."""
    from rich.table import Table

    table = Table("model", "layer", "kind", "MACs", "cycles", "DRAM bytes")
    for name, model in result["models"].items():
        for layer in model["layers"]:
            figures = (f"{layer[key]:,}" for key in ("macs", "cycles", "dram_bytes"))
            table.add_row(name, layer["name"], layer["op"], *figures)
    return table
