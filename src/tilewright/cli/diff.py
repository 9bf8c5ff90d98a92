"""`tilewright diff`: run on two simulators and find where they part."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import (
    SIMULATORS,
    config_options,
    fallback_option,
    json_option,
    memory_options,
    quiet_option,
)
from tilewright.cli.subject import compiled_subject, input_options, model_argument, subject_inputs
from tilewright.cli.terminal import Terminal, check_writable

SIMULATOR = click.Choice(SIMULATORS)


@click.command(
    "diff",
    cls=TilewrightCommand,
    short_help="Find the first instruction after which simulators differ.",
    examples=(
        "tilewright diff model.onnx --config 8x8",
        "tilewright diff model.onnx --left fast",
        "tilewright diff model.twp --left functional --right rtl --input image.npz --json -",
    ),
)
@model_argument
@config_options(None)
@fallback_option
@click.option("--left", type=SIMULATOR, default="functional", show_default=True, help="As `--on` of `run`.")
@click.option("--right", type=SIMULATOR, default="rtl", show_default=True, help="As `--on` of `run`.")
@input_options
@memory_options
@json_option
@quiet_option
def command(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, left: str, right: str,
    input_file: str | None, seed: int, latency: int | None, bandwidth: int | None, outstanding: int | None,
    json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Run MODEL on two simulators, and stop at the first instruction after which they differ.

    Compared are DRAM, the activation scratchpad, the other scratchpads where both simulators show them, the outputs,
    and the times of the instructions where both simulators have times.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    from tilewright import api
    from tilewright.sim.difference import find_difference

    compiled = compiled_subject(model, config_name, changes, host_fallback, terminal)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step("building") as progress:
        makers = [partial(api.simulator, on, compiled.config, dram=dram, progress=progress) for on in (left, right)]
        for make in makers:
            make()  # builds what the runs below then find
    with terminal.step("running"):
        found = find_difference(compiled.program, inputs, *makers)
    terminal.write_json({"left": left, "right": right, "difference": None if found is None else asdict(found)})
    if found is None:
        terminal.show(f"{left} and {right} do not differ on {compiled.title}")
        return Exit.OK
    terminal.show(f"{left} (left) and {right} (right) part:")
    if not quiet:
        click.echo(str(found), err=json_file == "-")
    return Exit.FAILED
