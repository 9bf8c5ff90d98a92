"""`tilewright tune`: search for the schedules that are fastest on this processor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.cpu_tuning import Tuned

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """Read a time such as `90`, `60s`, `5m` or `1h`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value, re.ASCII)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"a time is written 90, 60s, 5m or 1h and is more than 0, not `{value}`")
    return float(found[1]) * _UNITS[found[2]]


@click.command(
    "tune",
    cls=TilewrightCommand,
    short_help="Search for the schedules that are fastest on this processor.",
    examples=("tilewright tune model.onnx", "tilewright tune model.onnx --target cpu --budget 5m --json tuned.json"),
)
@click.argument("model", metavar="MODEL", shell_complete=completion.files)
@click.option("--target", type=click.Choice(["cpu"]), default="cpu", show_default=True, help="What schedules are for.")
@click.option(
    "--budget", metavar="TIME", callback=_seconds, default="60s", show_default=True,
    help="How long to search, about: 90, 60s, 5m or 1h.", shell_complete=completion.budgets,
)  # fmt: skip
@click.option(
    "--level", metavar="NAME", help="Instructions to use.  [default: the best]", shell_complete=completion.host_levels
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of a model in floating point.  [default: fp32]")
@json_option
@quiet_option
def command(
    model: str, target: str, budget: float, level: str | None, precision: str | None, json_file: str | None, quiet: bool
) -> int:
    """Measure schedules of MODEL's kernels on this processor, and keep the fastest for whenever it is compiled.

    Each round runs the network with other tiles, orders and unrollings beside the usual ones, layer by layer in turns.
    What wins by more than noise is kept by the shapes of operators, so that other models have it too; nothing that is
    kept was slower than the usual schedule, and results stay the same. Ctrl-C or kill, and go on by the same command.
    """
    check_writable(json_file)
    from tilewright import api
    from tilewright.cpu_tuning import tune
    from tilewright.isa.errors import InputError

    if api.is_program_file(model):
        raise InputError(f"`{model}` is a program for an accelerator: schedules are searched for models")
    terminal = Terminal(quiet, json_file)
    with terminal.step("tuning") as bar:
        tuned = tune(
            model,
            budget,
            level=level,
            precision=precision,
            progress=lambda what, done, most: bar(what, round(done * 10), round(most * 10)),
        )
    terminal.write_json({**tuned.as_data(), "seconds": dict(terminal.seconds)})
    terminal.show(_table(tuned), _summary(tuned))
    return Exit.OK


def _table(tuned: Tuned) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from tilewright.compiler.targets.cpu.schedules import by_model

    table = Table("shape", "usual", "chosen", "time", title=escape(f"{tuned.name} for {tuned.level}"))
    table.title_justify = "left"
    for name, problem in tuned.problems.items():
        usual, chosen = by_model(problem), tuned.found.chosen[name]
        same = chosen == usual
        table.add_row(
            escape(name), str(usual), "" if same else str(chosen), "" if same else f"{tuned.found.ratios[name]:.3f}"
        )
    return table


def _summary(tuned: Tuned) -> str:
    found = tuned.found
    rest = "nothing is left to try" if tuned.is_complete else "the same command goes on"
    return (
        f"{found.seconds * 1e3:.3f} ms of the processor, {found.model_seconds * 1e3:.3f} ms with the usual schedules; "
        f"{tuned.rounds} rounds, {rest}"
    )
