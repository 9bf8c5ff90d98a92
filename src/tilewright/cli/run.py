"""`tilewright run`: run a model or a program on a simulator."""

from __future__ import annotations

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import (
    config_options,
    fallback_option,
    json_option,
    memory_options,
    quiet_option,
    simulator_option,
)
from tilewright.cli.run_native import NATIVE, refuse_accelerator_options, run_native
from tilewright.cli.subject import compiled_subject, input_options, model_argument, subject_inputs
from tilewright.cli.terminal import Terminal, check_writable
from tilewright.cli.views import Views, view_options

#: A cycle that no run reaches.
_NO_END = 2**63


@click.command(
    "run",
    cls=TilewrightCommand,
    examples=(
        "tilewright run model.onnx",
        "tilewright run model.onnx --config 8x8 --on rtl --input image.npz --output result.npz",
        "tilewright run model.twp --on fast --latency 100 --bandwidth 8 --json -",
        "tilewright run model.onnx --on rtl --waves run.fst --wave-cycles 1000:3000",
        "tilewright run model.onnx --on cpu --check",
        "tilewright run model.onnx --on gpu --check",
        "tilewright run model.onnx --on fast --timeline run.perfetto-trace --report run.html --compare before.json",
    ),
)
@model_argument
@config_options(None)
@fallback_option
@simulator_option("functional", *NATIVE)
@input_options
@click.option(
    "--output",
    "output_file",
    metavar="Y.npz",
    help="Write the outputs there, by name.",
    shell_complete=completion.files,
)
@memory_options
@click.option("--waves", metavar="F.fst", help="Write waveforms (rtl).", shell_complete=completion.files)
@click.option(
    "--wave-cycles", metavar="FIRST:END", help="Of these cycles only, END not among them; either may be empty."
)
@click.option("--max-cycles", type=click.IntRange(1), help="Give up after so many cycles a launch (fast, rtl).")
@click.option(
    "--check", is_flag=True, help="Compare the outputs with the integer reference (of a model, not a program)."
)
@click.option("--precision", type=click.Choice(["fp16", "fp32", "bf16"]),
              help="Of a model in floating point (gpu: fp16 or fp32; cpu: fp32 or bf16).")  # fmt: skip
@view_options
@json_option
@quiet_option
def command(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, on: str,
    input_file: str | None, seed: int, output_file: str | None, latency: int | None, bandwidth: int | None,
    outstanding: int | None, waves: str | None, wave_cycles: str | None, max_cycles: int | None, check: bool,
    precision: str | None, views: Views, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Run MODEL, an ONNX model or a compiled program, on a simulator.

    Operators that the accelerator lacks run on the host; the table says which and why. On `fast` and `rtl` the table
    has cycles, utilization and what bounds each layer. A program file has its configuration in it; for a model the
    default is 16x16.
    """
    if on in NATIVE:
        refuse_accelerator_options(click.get_current_context(), on)
    if precision is not None and on not in NATIVE:
        raise click.UsageError("--precision needs --on gpu or cpu", click.get_current_context())
    for path in (output_file, json_file, waves):
        check_writable(path)
    if waves is not None and on != "rtl":
        raise click.UsageError("--waves needs --on rtl", click.get_current_context())
    if wave_cycles is not None and waves is None:
        raise click.UsageError("--wave-cycles needs --waves", click.get_current_context())
    if max_cycles is not None and on not in ("fast", "rtl"):
        raise click.UsageError("--max-cycles needs --on fast or rtl", click.get_current_context())
    window = None if wave_cycles is None else _window(wave_cycles)
    views.check(on)
    terminal = Terminal(quiet, json_file)
    if on in NATIVE:
        return run_native(on, model, input_file, seed, output_file, check, precision, terminal)
    from tilewright import api
    from tilewright.arrays import Arrays, count_differences, write_arrays
    from tilewright.execution import bytes_per_cycle
    from tilewright.report import report_table
    from tilewright.run_data import run_data

    compiled = compiled_subject(model, config_name, changes, host_fallback, terminal)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    compiled.check_inputs(inputs)  # before anything that takes long
    expected: Arrays = {}
    if check:
        with terminal.step("computing the reference"):
            expected = compiled.reference(inputs)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step("building") as progress:
        simulator = api.simulator(
            on, compiled.config, dram=dram, waves=waves, wave_cycles=window, max_cycles=max_cycles, progress=progress
        )
    with terminal.step("running"):
        result = compiled.run(inputs, on=simulator, host="reference" if check else "cpu")
    if output_file is not None:
        write_arrays(output_file, result.outputs)
    wrong = count_differences(expected, result.outputs)
    data = {**run_data(compiled, result, views.energy_table()), "seconds": dict(terminal.seconds)}
    views.write(compiled, result, data, bytes_per_cycle(compiled.config, dram), terminal)
    terminal.write_json({**data, "differences": wrong} if check else data)
    terminal.show(report_table(result.report))
    if check:
        terminal.show(f"{sum(wrong.values())} values differ from the integer reference")
    terminal.show(", ".join(f"{name} {seconds:.1f} s" for name, seconds in terminal.seconds.items()))
    if any(wrong.values()):
        click.echo(f"error: {model}: outputs differ from the integer reference", err=True)
        return Exit.FAILED
    return Exit.OK


def _window(text: str) -> tuple[int, int]:
    """Read `FIRST:END`."""
    first, colon, end = text.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (first, end)):
        raise click.UsageError(f"--wave-cycles is FIRST:END, not `{text}`", click.get_current_context())
    window = int(first or 0), int(end or _NO_END)
    if window[0] >= window[1]:
        raise click.UsageError(f"--wave-cycles {text} holds no cycle", click.get_current_context())
    return window
