"""`tilewright run --on cpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tilewright.cli.group import Exit
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.cli.terminal import Terminal
    from tilewright.cpu import CpuReport


def run_on_cpu(
    model: str, input_file: str | None, seed: int, output_file: str | None, check: bool, terminal: Terminal
) -> int:
    """Compile a model for this processor, run it, and show what ran where and how long it took."""
    from tilewright import api, cpu
    from tilewright.arrays import count_differences, write_arrays
    from tilewright.cli.subject import subject_inputs

    if api.is_program_file(model):
        raise InputError(f"`{model}` is a program for an accelerator: the CPU target runs models")
    with terminal.step("compiling"):
        compiled = cpu.compile_for_cpu(model)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)
    with terminal.step("running"):
        result = compiled.run(inputs, is_timed=True)
    if output_file is not None:
        write_arrays(output_file, result.outputs)
    data = {**result.report.as_data(), "seconds": dict(terminal.seconds)}
    wrong = count_differences(compiled.reference(inputs), result.outputs) if check else {}
    terminal.write_json({**data, "differences": wrong} if check else data)
    terminal.show(_table(result.report))
    if check:
        terminal.show(f"{sum(wrong.values())} values differ from the integer reference")
    if any(wrong.values()):
        click.echo(f"error: {model}: outputs differ from the integer reference", err=True)
        return Exit.FAILED
    return Exit.OK


def _table(report: CpuReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    took = "" if report.milliseconds is None else f": {report.milliseconds:.3f} ms a run"
    title = f"{report.model} on {report.level}{took}, {report.memory_bytes / 1e6:,.1f} MB of activations"
    table = Table("layer", "kind", "runs on", "MACs", "us", "GMAC/s", "how, or why", title=escape(title))
    table.title_justify = "left"
    for layer, took_us in zip(report.layers, report.microseconds, strict=True):
        macs = f"{layer.macs:,}" if layer.macs else ""
        speed = f"{layer.macs / took_us / 1e3:.1f}" if layer.macs and took_us else ""
        us = "" if took_us is None else f"{took_us:.1f}"
        table.add_row(escape(layer.name), escape(layer.kind), layer.place, macs, us, speed, escape(layer.note))
    return table
