"""`python -m tilewright.backend`: run ONNX's own test cases."""

from __future__ import annotations

import re

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.terminal import Terminal, check_writable, write_text

_KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "real", "all")


@click.command(
    "python -m tilewright.backend",
    cls=TilewrightCommand,
    examples=(
        "python -m tilewright.backend",
        "python -m tilewright.backend --only conv --kind all",
        "python -m tilewright.backend --sample 60 --seed 1",
    ),
)
@click.option("--kind", type=click.Choice(_KINDS), default="node", show_default=True, help="Which of ONNX's suites.")
@click.option("--only", metavar="REGEX", default="", help="Only the cases in whose name this is found.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N cases, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of --sample.")
@click.option("--doc", "doc_file", metavar="FILE", help="Write a page with the figures and all failures.")
@json_option
@quiet_option
def command(
    kind: str, only: str, sample: int | None, seed: int, doc_file: str | None, json_file: str | None, quiet: bool
) -> int:
    """Run ONNX's backend test cases on the accelerator's functional simulator.

    Each case runs on `onnx.reference` too. Ends with exit code 1 when a case fails that `onnx.reference` passes.
    """
    check_writable(doc_file)
    check_writable(json_file)
    try:
        pattern = re.compile(only)
    except re.error as error:
        raise click.UsageError(f"--only is not a regular expression: {error}", click.get_current_context()) from None
    terminal = Terminal(quiet, json_file)
    from tilewright.backend.cases import KINDS, case_names, run_cases, sampled
    from tilewright.backend.summary import page, reason_of, tally

    with terminal.step("running") as progress:
        names = [case for case in case_names(list(KINDS) if kind == "all" else [kind]) if pattern.search(case[1])]
        chosen = sampled(names, sample, seed) if sample else names
        results = run_cases(chosen, progress)
    if doc_file is not None:
        write_text(doc_file, page(results))
    terminal.write_json([result.as_data() for result in results])
    missed = [result for result in results if result.outcome != "passed"]
    terminal.show(*(f"{result.outcome} {result.name}: {reason_of(result)}".replace("[", r"\[") for result in missed))
    terminal.show(tally(results).text(), f"{terminal.seconds['running']:.0f} s")
    is_worse = any(result.reference == "passed" for result in missed)
    return Exit.FAILED if is_worse else Exit.OK


if __name__ == "__main__":
    import sys

    from tilewright.isa.errors import TilewrightError

    try:
        sys.exit(command.main(prog_name="python -m tilewright.backend", standalone_mode=False) or 0)
    except (TilewrightError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {text}", err=True)
        sys.exit(Exit.USAGE)
