"""`tilewright bench`: measure, and show the figures beside others'."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import config_options, json_option, memory_options, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from tilewright.bench.record import Record
    from tilewright.bench.suites import Context, Suite
    from tilewright.sim.api import DramTiming

_SUITES = ("accelerator", "simulators", "compile", "cpu", "gpu", "fpga")


@click.command(
    "bench",
    cls=TilewrightCommand,
    examples=(
        "tilewright bench accelerator",
        "tilewright bench accelerator --only 'C[2-4]$' --json c.json",
        "tilewright bench --list",
    ),
)
@click.argument("suite", metavar="[SUITE]", type=click.Choice(_SUITES), required=False)
@click.option("--only", metavar="REGEX", help="Only the cases in whose name this is found.")
@click.option("--list", "list_cases", is_flag=True, help="Name the suites, or the cases of SUITE.")
@config_options(None)
@memory_options
@json_option
@quiet_option
def command(
    suite: str | None, only: str | None, list_cases: bool, config_name: str | None, changes: tuple[str, ...],
    latency: int | None, bandwidth: int | None, outstanding: int | None, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Measure the cases of SUITE: accelerator, simulators, compile, cpu, gpu or fpga.

    Outputs are checked where a case computes any. What cannot be measured here is listed with the reason. The
    simulated memory moves 16 bytes a cycle with a latency of 20 cycles unless asked otherwise.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    from tilewright.bench.suites import SUITES, Context

    if list_cases:
        for entry in [SUITES[suite]] if suite else SUITES.values():
            click.echo(f"{entry.name}: {entry.doc}" + (f" ({entry.missing})" if entry.missing else ""))
            click.echo("".join(f"  {case}\n" for case in entry.cases), nl=False)
        return Exit.OK
    if suite is None:
        raise click.UsageError(f"name a suite: {', '.join(_SUITES)}", click.get_current_context())
    chosen = SUITES[suite]
    cases = _cases(chosen, only)
    from tilewright import api

    config = read_config(config_name or chosen.config, changes)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step(suite) as progress:
        records = _measure(chosen, cases, Context(config, dram, progress))
    terminal.show(chosen.table(records))
    if suite == "accelerator":
        terminal.show(_conditions(dram))
    terminal.write_json([record.as_data() for record in records])
    return Exit.FAILED if any(record.wrong for record in records) else Exit.OK


def _conditions(dram: DramTiming) -> str:
    from tilewright.bench.peers import peers

    memory = f"memory: {dram.bytes_per_cycle} bytes a cycle, latency {dram.latency_cycles} cycles"
    return "\n".join([memory, *(f"{peer.name}: {peer.source}" for peer in peers())])


def _cases(suite: Suite, only: str | None) -> list[str]:
    try:
        pattern = re.compile(only or "")
    except re.error as error:
        raise click.UsageError(f"--only is not a regular expression: {error}", click.get_current_context()) from None
    cases = [case for case in suite.cases if pattern.search(case)]
    if not cases:
        message = f"no case of {suite.name} has `{only}` in its name; it has {', '.join(suite.cases)}"
        raise click.UsageError(message, click.get_current_context())
    return cases


def _measure(suite: Suite, cases: list[str], context: Context) -> list[Record]:
    records: list[Record] = []
    for done, case in enumerate(cases):
        context.progress(case, done, len(cases))
        records += suite.measure(case, context)
    return records
