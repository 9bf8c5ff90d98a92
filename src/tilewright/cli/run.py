"""`tilewright run`: run a model or a program on a simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import (
    change_config,
    config_options,
    fallback_option,
    json_option,
    memory_options,
    quiet_option,
    read_config,
    simulator_option,
)
from tilewright.cli.terminal import Terminal, check_writable
from tilewright.cli.views import Views, view_options
from tilewright.isa.errors import InputError, ProgramError

if TYPE_CHECKING:
    from tilewright.api import Compiled
    from tilewright.arrays import Arrays
    from tilewright.isa.config import Config


@click.command(
    "run",
    cls=TilewrightCommand,
    examples=(
        "tilewright run model.onnx",
        "tilewright run model.onnx --config 8x8 --on rtl --input image.npz --output result.npz",
        "tilewright run model.twp --on rtl --latency 100 --bandwidth 8 --json -",
        "tilewright run model.onnx --on rtl --waves run.fst",
        "tilewright run model.onnx --on rtl --timeline run.perfetto-trace --report run.html --compare before.json",
    ),
)
@click.argument("model", metavar="MODEL")
@config_options(None)
@fallback_option
@simulator_option("functional")
@click.option("--input", "input_file", metavar="X.npz", help="Inputs by name; without it, random ones.")
@click.option("--seed", default=0, show_default=True, help="Seed of random inputs.")
@click.option("--output", "output_file", metavar="Y.npz", help="Write the outputs there, by name.")
@memory_options
@click.option("--waves", metavar="F.fst", help="Write waveforms (rtl).")
@click.option(
    "--check", is_flag=True, help="Compare the outputs with the integer reference (of a model, not a program)."
)
@view_options
@json_option
@quiet_option
def command(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, on: str,
    input_file: str | None, seed: int, output_file: str | None, latency: int | None, bandwidth: int | None,
    outstanding: int | None, waves: str | None, check: bool, views: Views, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Run MODEL, an ONNX model or a compiled program, on a simulator.

    Operators that the accelerator lacks run on the host; the table says which and why. On `rtl` the table has
    cycles, utilization and what bounds each layer. A program file has its configuration in it; for a model the
    default is 16x16.
    """
    for path in (output_file, json_file, waves):
        check_writable(path)
    if waves is not None and on != "rtl":
        raise click.UsageError("--waves needs --on rtl", click.get_current_context())
    views.check(on)
    terminal = Terminal(quiet, json_file)
    from tilewright import api
    from tilewright.arrays import count_differences, write_arrays
    from tilewright.execution import bytes_per_cycle
    from tilewright.report import report_table
    from tilewright.run_data import run_data

    compiled = _compiled(model, config_name, changes, host_fallback, terminal)
    inputs = _inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)  # before anything that takes long
    expected = compiled.reference(inputs) if check else {}
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step("building") as progress:
        simulator = api.simulator(on, compiled.config, dram=dram, waves=waves, progress=progress)
    with terminal.step("running"):
        result = compiled.run(inputs, on=simulator)
    if output_file is not None:
        write_arrays(output_file, result.outputs)
    wrong = count_differences(expected, result.outputs)
    data = {**run_data(compiled, result, views.energy_table()), "seconds": dict(terminal.seconds)}
    views.write(compiled, result, data, bytes_per_cycle(compiled.config, dram))
    terminal.write_json({**data, "differences": wrong} if check else data)
    terminal.show(report_table(result.report))
    if check:
        terminal.show(f"{sum(wrong.values())} values differ from the integer reference")
    terminal.show(", ".join(f"{name} {seconds:.1f} s" for name, seconds in terminal.seconds.items()))
    if any(wrong.values()):
        click.echo(f"error: {model}: outputs differ from the integer reference", err=True)
        return Exit.FAILED
    return Exit.OK


def _compiled(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, terminal: Terminal
) -> Compiled:
    from tilewright import api

    if not api.is_program_file(model):
        with terminal.step("compiling"):
            config = read_config(config_name or "16x16", changes)
            return api.compile(model, config, host_fallback=host_fallback)
    compiled = api.load_program(model)
    asked = compiled.config if config_name is None else read_config(config_name)
    _check_same(model, compiled.config, change_config(asked, changes))
    return compiled


def _check_same(path: str, own: Config, asked: Config) -> None:
    if own.hash != asked.hash:
        raise ProgramError(
            f"program `{path}` is for configuration {own.hash} ({own.name}), not for {asked.hash} ({asked.name})"
        )


def _inputs(compiled: Compiled, input_file: str | None, seed: int, terminal: Terminal) -> Arrays:
    from tilewright.arrays import random_inputs, read_arrays

    if input_file is None:
        terminal.show(f"no --input: random inputs, seed {seed}")
        return random_inputs(compiled.inputs, seed)
    arrays = read_arrays(input_file)
    if not arrays:
        raise InputError(f"`{input_file}` holds no arrays")
    return arrays
