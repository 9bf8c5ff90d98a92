"""`tilewright run --on cpu` and `--on gpu`: a model as code of a processor that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tilewright.cli.group import Exit
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from tilewright.arrays import Arrays
    from tilewright.cli.terminal import Terminal
    from tilewright.cpu import CpuModel
    from tilewright.gpu import GpuModel
    from tilewright.segmented_model import SegmentedReport, SegmentedRun

#: What `--on` takes beside simulators and the board.
NATIVE = ("cpu", "gpu")

#: Parameters of `tilewright run` that these targets take.
_PARAMETERS = {"model", "on", "input_file", "seed", "output_file", "check", "precision", "json_file", "quiet"}


def refuse_accelerator_options(context: click.Context, on: str) -> None:
    """Raise UsageError where an option is given that says something of the accelerator, its memory or its cycles."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in _PARAMETERS:
            raise click.UsageError(f"{parameter.opts[-1]} is for the accelerator; --on {on} does not take it", context)


def run_native(
    on: str, model: str, input_file: str | None, seed: int, output_file: str | None, check: bool,
    precision: str | None, terminal: Terminal,
) -> int:  # fmt: skip
    """Compile a model for a processor, run it, and show what ran where and how long it took."""
    from tilewright import api
    from tilewright.arrays import write_arrays
    from tilewright.cli.subject import subject_inputs

    if api.is_program_file(model):
        raise InputError(f"`{model}` is a program for an accelerator: --on {on} runs models")
    compiled, run = _for_cpu(model, precision, terminal) if on == "cpu" else _for_gpu(model, precision, terminal)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)
    with terminal.step("running"):
        result = run(inputs)
    if output_file is not None:
        write_arrays(output_file, result.outputs)
    data = {**result.report.as_data(), "seconds": dict(terminal.seconds)}
    wrong: dict[str, int] = {}
    if check:
        with terminal.step("checking"):
            wrong = compiled.count_differences(inputs, result.outputs)
    terminal.write_json({**data, "differences": wrong} if check else data)
    terminal.show(_table(result.report))
    if check:
        terminal.show(f"{sum(wrong.values())} values differ from the reference")
    if any(wrong.values()):
        click.echo(f"error: {model}: outputs differ from the reference", err=True)
        return Exit.FAILED
    return Exit.OK


def _for_cpu(
    model: str, precision: str | None, terminal: Terminal
) -> tuple[CpuModel, Callable[[Arrays], SegmentedRun]]:
    from tilewright import cpu

    with terminal.step("compiling"):
        compiled = cpu.compile_for_cpu(model, precision=precision)
    return compiled, lambda inputs: compiled.run(inputs, is_timed=True)


def _for_gpu(
    model: str, precision: str | None, terminal: Terminal
) -> tuple[GpuModel, Callable[[Arrays], SegmentedRun]]:
    from tilewright import gpu

    device = gpu.open_device()  # says what is missing before anything takes long
    with terminal.step("compiling"):
        compiled = gpu.compile_for_gpu(model, precision=precision)
    return compiled, lambda inputs: compiled.run(inputs, device, is_timed=True)


def _table(report: SegmentedReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    took = "" if report.milliseconds is None else f": {report.milliseconds:.3f} ms a run"
    title = f"{report.model} on {report.processor}{took}, {report.memory_bytes / 1e6:,.1f} MB of activations"
    table = Table("layer", "kind", "runs on", "MACs", "us", "GMAC/s", "how, or why", title=escape(title))
    table.title_justify = "left"
    for layer, took_us in zip(report.layers, report.microseconds, strict=True):
        macs = f"{layer.macs:,}" if layer.macs else ""
        speed = f"{layer.macs / took_us / 1e3:.1f}" if layer.macs and took_us else ""
        us = "" if took_us is None else f"{took_us:.1f}"
        table.add_row(escape(layer.name), escape(layer.kind), layer.place, macs, us, speed, escape(layer.note))
    return table
