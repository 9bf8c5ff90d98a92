"""`tilewright demo`: the model that ships with Tilewright, from ONNX to checked results on RTL."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import (
    config_options,
    json_option,
    memory_options,
    quiet_option,
    read_config,
    simulator_option,
)
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from tilewright.demo import Verdict


@click.command(
    "demo",
    cls=TilewrightCommand,
    short_help="Run the model that ships with Tilewright, and check it.",
    examples=(
        "tilewright demo",
        "tilewright demo --config 16x16 --images 5",
        "tilewright demo --on functional --images 40 --json demo.json",
    ),
)
@config_options("8x8")
@simulator_option("rtl")
@click.option(
    "--images", type=click.IntRange(1, 40), default=1, show_default=True, help="How many of the samples to run."
)
@memory_options
@json_option
@quiet_option
def command(
    config_name: str, changes: tuple[str, ...], on: str, images: int, latency: int | None, bandwidth: int | None,
    outstanding: int | None, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Compile the model that ships with Tilewright, run it on the generated RTL, and check what comes out.

    The model is an int8 ResNet-8 that reads handwritten digits. Its outputs are compared bit for bit with the
    integer reference, and with onnxruntime. The first run compiles the RTL, which is kept for later ones.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    config = read_config(config_name, changes)
    from tilewright import api
    from tilewright.demo import check_run, default_model, default_samples
    from tilewright.report import report_table

    with terminal.step("compiling the model"):
        compiled = api.compile(default_model(), config)
    samples, labels = default_samples(images)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step("building the simulator") as progress:
        simulator = api.simulator(on, config, dram=dram, progress=progress)
    runs = []
    with terminal.step("running") as progress:
        for index, inputs in enumerate(samples):
            progress("image", index, images)
            runs.append(compiled.run(inputs, on=simulator, host="reference"))
    with terminal.step("checking"):
        verdict = check_run(compiled, samples, labels, [run.outputs for run in runs])
    report = runs[0].report
    terminal.show(report_table(report))
    terminal.show(*_lines(verdict, images))
    terminal.show(", ".join(f"{name} {seconds:.1f} s" for name, seconds in terminal.seconds.items()))
    terminal.write_json(
        {
            **report.as_data(),
            "images": images,
            "verdict": asdict(verdict),
            "ok": verdict.is_good,
            "seconds": dict(terminal.seconds),
        }
    )
    if not verdict.is_good:
        click.echo("error: the demo's outputs are not what they must be", err=True)
        return Exit.FAILED
    return Exit.OK


def _lines(verdict: Verdict, images: int) -> list[str]:
    exact = (
        "[green]equal, bit for bit[/]" if not verdict.wrong_values else f"[red]{verdict.wrong_values} values differ[/]"
    )
    noun = "image" if images == 1 else "images"
    return [
        f"integer reference: {exact}, on {images} {noun} ({verdict.values} output values)",
        f"onnxruntime: same digit for {verdict.same_class} of {images} {noun}, "
        f"largest difference {verdict.largest_steps} steps of the output's scale",
        f"labels: {verdict.right_class} of {images} {noun} read correctly",
    ]
