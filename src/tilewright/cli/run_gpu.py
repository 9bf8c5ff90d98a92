"""`tilewright run --on gpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tilewright.cli.group import Exit
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.cli.terminal import Terminal
    from tilewright.gpu import GpuReport


def run_on_gpu(
    model: str, input_file: str | None, seed: int, output_file: str | None, check: bool, terminal: Terminal
) -> int:
    """Compile a model for the GPU, run it, and show what ran where and how long it took."""
    from tilewright import api, gpu
    from tilewright.arrays import write_arrays
    from tilewright.cli.subject import subject_inputs

    if api.is_program_file(model):
        raise InputError(f"`{model}` is a program for an accelerator: a GPU runs models")
    device = gpu.open_device()  # says what is missing before anything takes long
    with terminal.step("compiling"):
        compiled = gpu.compile_for_gpu(model)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)
    with terminal.step("running"):
        result = compiled.run(inputs, device, is_timed=True)
    if output_file is not None:
        write_arrays(output_file, result.outputs)
    data = {**result.report.as_data(), "seconds": dict(terminal.seconds)}
    wrong = compiled.count_differences(inputs, result.outputs) if check else {}
    terminal.write_json({**data, "differences": wrong} if check else data)
    terminal.show(_table(result.report))
    if check:
        terminal.show(f"{sum(wrong.values())} values differ from the reference")
    if any(wrong.values()):
        click.echo(f"error: {model}: outputs differ from the reference", err=True)
        return Exit.FAILED
    return Exit.OK


def _table(report: GpuReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    took = "" if report.milliseconds is None else f": {report.milliseconds:.3f} ms a run"
    title = f"{report.model} on {report.device}{took}, {report.memory_bytes / 1e6:,.1f} MB of activations"
    table = Table("layer", "kind", "runs on", "MACs", "how, or why", title=escape(title), title_justify="left")
    for layer in report.layers:
        macs = f"{layer.macs:,}" if layer.macs else ""
        table.add_row(escape(layer.name), escape(layer.kind), layer.place, macs, escape(layer.note))
    return table
