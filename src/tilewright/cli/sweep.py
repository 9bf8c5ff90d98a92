"""`tilewright sweep`: search a space of configurations, and look at what was found."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.sweep_views import Live, front_table, layer_table
from tilewright.cli.terminal import Terminal, check_writable, write_text
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from tilewright.sweep.executor import Executor
    from tilewright.sweep.space import Space
    from tilewright.sweep.study import Point, Study

_SPACE = "space.toml"

_HELP = """Explore configurations: search a space, then look at what was found.

\b
tilewright sweep space.toml             search, or go on where it stopped
tilewright sweep show space.sweep       the Pareto front
tilewright sweep best space.sweep       the best point's configuration as TOML
tilewright sweep confirm space.sweep    RTL and synthesis for the front
tilewright sweep report space.sweep -o space.html
"""


class SweepGroup(click.Group):
    """A group in which a search space may stand where a command's name would: then it is run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take `run` for what names no command but is a file, or ends as one."""
        if args and args[0] not in self.commands and (args[0].endswith(".toml") or os.path.exists(args[0])):
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer commands, or else files."""
        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]


@click.group("sweep", cls=SweepGroup, help=_HELP, short_help="Explore many configurations, and their Pareto front.")
def command() -> None:
    """Hold the commands."""


_folder = click.argument("folder", metavar="FOLDER", shell_complete=completion.folders)


@command.command(
    "run",
    cls=TilewrightCommand,
    short_help="Search a space, or go on where it stopped.",
    examples=("tilewright sweep space.toml", "tilewright sweep run space.toml --jobs 8 --confirm 10"),
)
@click.argument("space_file", metavar="SPACE.TOML", shell_complete=completion.files)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    help="Folder of the study.  [default: SPACE.sweep]",
    shell_complete=completion.folders,
)
@click.option("--trials", type=click.IntRange(1), help="Points to evaluate, instead of what the space says.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]")
@click.option("--cluster", metavar="ADDRESS", help="Evaluate on the workers of a Dask cluster.")
@click.option("--confirm", "confirmed", type=click.IntRange(0), default=0, show_default=True,
              help="Points of the front to confirm by RTL and synthesis afterwards.")  # fmt: skip
@json_option
@quiet_option
def run_command(
    space_file: str, output: str | None, trials: int | None, jobs: int | None, cluster: str | None, confirmed: int,
    json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Search a space, or go on with the study in FOLDER; Ctrl-C or kill, and go on by the same command.

    Points that are no valid configuration are counted, not evaluated. Results are kept by the hash of everything that
    they depend on, so that nothing is computed twice.
    """
    from dataclasses import replace

    from tilewright.sim.rtl.cache import user_cache
    from tilewright.sweep.engine import run
    from tilewright.sweep.space import Space
    from tilewright.sweep.study import Study

    check_writable(json_file)
    space = Space.load(space_file)
    if trials is not None:
        space = replace(space, search=replace(space.search, trials=trials))
    _check_models(space)
    folder = Path(output or Path(space_file).with_suffix(".sweep"))
    study = Study(folder, space)
    _keep_space(folder, space_file)
    terminal = Terminal(quiet, json_file)
    start = time.perf_counter()
    with _executor(jobs, cluster) as executor, Live(terminal, study) as live:
        run(study, executor, user_cache() / "sweep", live.update)
    seconds = time.perf_counter() - start
    wrong = _confirm(study, _along_front(study, confirmed), terminal, ("rtl", "synth")) if confirmed else 0
    more = {"seconds": seconds, "evaluated": live.evaluated}
    return _finish(study, terminal, more) or (Exit.FAILED if wrong else Exit.OK)


def _check_models(space: Space) -> None:
    from tilewright.sweep.models import model_digest

    for model in space.models:
        model_digest(model)


def _keep_space(folder: Path, space_file: str) -> None:
    write_text(folder / _SPACE, Path(space_file).read_text(encoding="utf-8"))


def _executor(jobs: int | None, cluster: str | None) -> Executor:
    from tilewright.sweep.executor import ClusterExecutor, LocalExecutor

    if cluster is not None:
        return ClusterExecutor(cluster)
    return LocalExecutor(jobs or len(os.sched_getaffinity(0)))


def _open(folder: str) -> Study:
    from tilewright.sweep.space import Space
    from tilewright.sweep.study import Study

    space = Path(folder) / _SPACE
    if not os.path.isfile(space):  # which raises for no name
        raise InputError(
            f"`{folder}` is no folder of a sweep: it has no {_SPACE}; `tilewright sweep SPACE.toml` makes one"
        )
    return Study(Path(folder), Space.load(space))


def _finish(study: Study, terminal: Terminal, more: dict[str, Any]) -> int:
    """Show the front; a study in which everything failed says so."""
    from tilewright.sweep.confirm import describe_area
    from tilewright.sweep.front import front

    points = study.points()
    best = front(points, study.space.objectives)
    terminal.write_json({**_as_data(study, points, best), **more})
    if not best:
        reasons = Counter(point.reason for point in points if point.state == "failed").most_common(3)
        listed = "; ".join(f"{reason} ({count} times)" for reason, count in reasons)
        terminal.show(f"all {sum(p.state == 'failed' for p in points)} points failed: {listed}")
        return Exit.FAILED
    terminal.show(front_table(study, best, f"Pareto front of {study.space.name}"), describe_area(study, points))
    return Exit.OK


def _as_data(study: Study, points: list[Point], best: list[Point]) -> dict[str, Any]:
    from tilewright.sweep.confirm import describe_area
    from tilewright.sweep.export import rows

    states = Counter(point.state for point in points)
    reasons = Counter(point.reason for point in points if point.reason)
    return {
        "name": study.space.name, "size": study.space.size, "objectives": list(study.space.objectives),
        "states": dict(states), "reasons": dict(reasons), "front": rows(study, best),
        "area": describe_area(study, points),
    }  # fmt: skip


@command.command("show", cls=TilewrightCommand, examples=("tilewright sweep show space.sweep --json -",))
@_folder
@click.option("--point", type=int, help="One point: its configuration, models and layers.")
@json_option
@quiet_option
def show_command(folder: str, point: int | None, json_file: str | None, quiet: bool) -> int:
    """Show the Pareto front of a study, or one of its points."""
    check_writable(json_file)
    study, terminal = _open(folder), Terminal(quiet, json_file)
    if point is None:
        return _finish(study, terminal, {})
    chosen = _point(study, point)
    terminal.write_json(study.result(point) if chosen.state == "done" else {"reason": chosen.reason})
    terminal.show(front_table(study, [chosen], f"Point {point} of {study.space.name}") if chosen.state == "done"
                  else f"point {point} {chosen.state}: {chosen.reason}")  # fmt: skip
    if chosen.state == "done":
        terminal.show(layer_table(study.result(point)))
    return Exit.OK


def _point(study: Study, number: int) -> Point:
    points = study.points()
    if not 0 <= number < len(points):
        raise InputError(f"study `{study.folder}` has points 0 to {len(points) - 1}, not {number}")
    return points[number]


def _measured(study: Study, number: int) -> Point:
    point = _point(study, number)
    if point.state != "done":
        raise InputError(f"point {number} has no result: {point.state} {point.reason}")
    return point


@command.command(
    "best",
    cls=TilewrightCommand,
    short_help="Print the best point's configuration as TOML.",
    examples=("tilewright sweep best space.sweep > best.toml", "tilewright sweep best space.sweep --by luts --json -"),
)
@_folder
@click.option(
    "--by",
    metavar="METRIC",
    help="What is made small.  [default: the first objective]",
    shell_complete=completion.metrics,
)
@json_option
@quiet_option
def best_command(folder: str, by: str | None, json_file: str | None, quiet: bool) -> int:
    """Print the configuration of the best point as TOML: for `run --config`, and `synth --config`."""
    check_writable(json_file)
    from tilewright.sweep.export import rows
    from tilewright.sweep.front import best
    from tilewright.sweep.metrics import METRICS

    study = _open(folder)
    metric = by or study.space.objectives[0]
    if metric not in METRICS:
        raise click.UsageError(f"--by takes {', '.join(METRICS)}, not {metric}", click.get_current_context())
    point = best(study.points(), metric)
    if point is None:
        raise InputError(f"study `{folder}` has no point with a result")
    config = study.space.config(point.chosen).with_values(name=f"point{point.number}")
    (row,) = rows(study, [point])
    Terminal(quiet, json_file).write_json({**row, "by": metric, "hash": config.hash, "config": config.to_toml()})
    if json_file != "-":
        click.echo(config.to_toml(), nl=False)
    return Exit.OK


@command.command(
    "compare",
    cls=TilewrightCommand,
    short_help="Show points side by side.",
    examples=("tilewright sweep compare space.sweep 12 40",),
)
@_folder
@click.argument("numbers", metavar="POINT...", type=int, nargs=-1, required=True)
@json_option
@quiet_option
def compare_command(folder: str, numbers: tuple[int, ...], json_file: str | None, quiet: bool) -> int:
    """Show points side by side: parameters, all metrics, and the cycles of each model."""
    from rich.table import Table

    from tilewright.sweep.export import rows
    from tilewright.sweep.metrics import METRICS

    check_writable(json_file)
    study, terminal = _open(folder), Terminal(quiet, json_file)
    points = [_measured(study, number) for number in numbers]
    terminal.write_json(rows(study, points))
    table = Table("", *(f"#{point.number}" for point in points), title=study.space.name, title_justify="left")
    for path in study.space.parameters:
        table.add_row(path, *(str(point.chosen[path]).lower() for point in points))
    for name in METRICS:
        table.add_row(name, *(f"{point.metrics[name]:,.0f}" for point in points))
    results = [study.result(point.number)["models"] for point in points]
    for model in study.space.models:
        table.add_row(f"cycles of {model}", *(f"{result[model]['cycles']:,}" for result in results))
    terminal.show(table)
    return Exit.OK


@command.command(
    "confirm",
    cls=TilewrightCommand,
    short_help="Run points on the RTL, and synthesize them.",
    examples=("tilewright sweep confirm space.sweep --points 10",),
)
@_folder
@click.option("--points", type=click.IntRange(1), default=10, show_default=True, help="How many, along the front.")
@click.option("--point", "numbers", type=int, multiple=True, help="One of these instead; may be given several times.")
@click.option("--level", "levels", type=click.Choice(["rtl", "synth"]), multiple=True, help="[default: both]")
@json_option
@quiet_option
def confirm_command(
    folder: str, points: int, numbers: tuple[int, ...], levels: tuple[str, ...], json_file: str | None, quiet: bool
) -> int:
    """Run points of the front on the RTL, and synthesize them; each is then marked with what confirmed it."""
    check_writable(json_file)
    study, terminal = _open(folder), Terminal(quiet, json_file)
    chosen = [_measured(study, number) for number in numbers] or _along_front(study, points)
    wrong = _confirm(study, chosen, terminal, levels or ("rtl", "synth"))
    return _finish(study, terminal, {}) or (Exit.FAILED if wrong else Exit.OK)


def _along_front(study: Study, count: int) -> list[Point]:
    """Return so many points, spread along the front."""
    from tilewright.sweep.front import front

    best = front(study.points(), study.space.objectives)
    count = min(count, len(best))
    return [best[round(i * (len(best) - 1) / max(count - 1, 1))] for i in range(count)]


def _confirm(study: Study, points: list[Point], terminal: Terminal, levels: tuple[str, ...]) -> int:
    """Confirm points; return how many differ from what was said of them."""
    from tilewright.sweep.confirm import confirm

    wrong = 0
    with terminal.step("confirm") as progress:
        for done, point in enumerate(points):
            progress(f"point {point.number}", done, len(points))
            result = confirm(study, point, levels)
            wrong += bool(result.difference or result.wrong)
    return wrong


@command.command("report", cls=TilewrightCommand, examples=("tilewright sweep report space.sweep -o space.html",))
@_folder
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="FILE.html, FILE.csv or FILE.parquet.",
    shell_complete=completion.files,
)
@json_option
@quiet_option
def report_command(folder: str, output: str, json_file: str | None, quiet: bool) -> int:
    """Write the study as an HTML report, or its points as a table."""
    for path in (output, json_file):
        check_writable(path)
    study, terminal = _open(folder), Terminal(quiet, json_file)
    with terminal.step("writing"):
        if Path(output).suffix == ".html":
            from tilewright.sweep.html_report import report

            write_text(output, report(study))
        else:
            from tilewright.sweep.export import export

            export(study, output)
    states = Counter(point.state for point in study.points())
    terminal.write_json({"name": study.space.name, "output": output, "states": dict(states)})
    terminal.show(f"{output}: {sum(states.values())} points of {study.space.name}")
    return Exit.OK
