"""`tilewright bench`: measure, and show the figures beside others'."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import config_options, json_option, memory_options, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from tilewright.bench.record import Record
    from tilewright.bench.suites import Suite
    from tilewright.sim.api import DramTiming

_SUITES = ("accelerator", "simulators", "compile", "cpu", "gpu", "fpga")


@click.command(
    "bench",
    cls=TilewrightCommand,
    short_help="Measure, and show the figures beside others'.",
    examples=(
        "tilewright bench accelerator",
        "tilewright bench accelerator --only 'C[2-4]$' --json c.json",
        "tilewright bench accelerator --on fast --more-memories --json accelerator.json",
        "tilewright bench --list",
    ),
)
@click.argument("suite", metavar="[SUITE]", type=click.Choice(_SUITES), required=False)
@click.option(
    "--only",
    metavar="REGEX",
    multiple=True,
    help="Only the cases in whose name one of these is found.",
    shell_complete=completion.cases,
)
@click.option("--list", "list_cases", is_flag=True, help="Name the suites, or the cases of SUITE.")
@config_options(None)
@click.option("--on", type=click.Choice(["rtl", "fast"]), help="accelerator: what counts cycles.  [default: rtl]")
@click.option("--more-memories", is_flag=True, help="accelerator: measure with 8 bytes a cycle and latency 100 too.")
@click.option(
    "--models",
    metavar="FOLDER",
    help="accelerator: where its models lie.  [default: ../shared/models]",
    shell_complete=completion.folders,
)
@memory_options
@json_option
@quiet_option
def command(
    suite: str | None, only: tuple[str, ...], list_cases: bool, config_name: str | None, changes: tuple[str, ...],
    on: str | None, more_memories: bool, models: str | None, latency: int | None, bandwidth: int | None,
    outstanding: int | None, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Measure the cases of SUITE: accelerator, simulators, compile, cpu, gpu or fpga.

    Outputs are checked where a case computes any. What cannot be measured here is listed with the reason. The
    simulated memory moves 16 bytes a cycle with a latency of 20 cycles unless asked otherwise. The cases of
    accelerator run on 16x16, the small networks on 8x8, unless a configuration is asked for.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    from tilewright.bench.suites import MODELS, SUITES, Context

    if list_cases:
        _list([SUITES[suite]] if suite else list(SUITES.values()), terminal)
        return Exit.OK
    if suite is None:
        raise click.UsageError(f"name a suite: {', '.join(_SUITES)}", click.get_current_context())
    chosen = SUITES[suite]
    cases = _cases(chosen, only)
    if suite != "accelerator" and (on or more_memories or models):
        message = "--on, --more-memories and --models are for the suite accelerator"
        raise click.UsageError(message, click.get_current_context())
    from tilewright import api

    config = read_config(config_name or chosen.config, changes)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    records: list[Record] = []
    for memory in _memories(dram, more_memories):
        with terminal.step(suite) as progress:
            context = Context(
                config, memory, progress, on or "rtl", Path(models) if models else MODELS,
                is_config_asked=config_name is not None or bool(changes),
            )  # fmt: skip
            measured: list[Record] = []
            for done, case in enumerate(cases):
                progress(case, done, len(cases))
                measured += chosen.measure(case, context)
                terminal.keep_json([record.as_data() for record in (*records, *measured)])
        terminal.show(chosen.table(measured))
        records += measured
    if suite == "accelerator":
        terminal.show(_sources(records))
    terminal.write_json([record.as_data() for record in records])
    return Exit.FAILED if any(record.wrong for record in records) else Exit.OK


def _list(suites: list[Suite], terminal: Terminal) -> None:
    terminal.write_json([{"suite": suite.name, "doc": suite.doc, "cases": list(suite.cases)} for suite in suites])
    if terminal.json == "-":
        return
    for suite in suites:
        click.echo(f"{suite.name}: {suite.doc}" + (f" ({suite.missing})" if suite.missing else ""))
        click.echo("".join(f"  {case}\n" for case in suite.cases), nl=False)


def _memories(dram: DramTiming, has_more: bool) -> list[DramTiming]:
    more = [replace(dram, bytes_per_cycle=8), replace(dram, latency_cycles=100)] if has_more else []
    return list(dict.fromkeys([dram, *more]))


def _sources(records: list[Record]) -> str:
    """Say where the peers' figures are from, with the figures that stand in no table."""
    from tilewright.bench.peers import peers_of
    from tilewright.bench.tables import number

    lines: dict[str, None] = {}
    for record in (record for record in records if record.peer):
        for place, peer in enumerate(peers_of(record.suite, record.metric, record.config, record.case)):
            figure = f"{record.case} {number(peer.values[record.case])} {peer.unit}. " if place else ""
            lines[f"{figure}{peer.source}"] = None
    return "\n".join(lines)


def _cases(suite: Suite, only: tuple[str, ...]) -> list[str]:
    try:
        patterns = [re.compile(text) for text in only or ("",)]
    except re.error as error:
        raise click.UsageError(f"--only is not a regular expression: {error}", click.get_current_context()) from None
    for pattern in patterns:
        if not any(map(pattern.search, suite.cases)):
            message = f"no case of {suite.name} has `{pattern.pattern}` in its name; it has {', '.join(suite.cases)}"
            raise click.UsageError(message, click.get_current_context())
    return [case for case in suite.cases if any(pattern.search(case) for pattern in patterns)]
