"""`tilewright compile`: from a model to a program file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tilewright.cli import completion
from tilewright.cli.compile_cpu import compile_for_processor, is_cpu
from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import config_options, fallback_option, json_option, quiet_option, read_config
from tilewright.cli.subject import model_argument
from tilewright.cli.terminal import Terminal, check_writable
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.api import Compiled


@click.command(
    "compile",
    cls=TilewrightCommand,
    short_help="Compile a model to a program, or to code of a processor.",
    examples=(
        "tilewright compile model.onnx -o model.twp",
        "tilewright compile model.onnx -o model.twp --config 8x8 --set memory.act_kib=32",
        "tilewright compile model.onnx -o folder --target cpu",
        "tilewright compile model.onnx -o folder --target cpu:aarch64",
    ),
)
@model_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER",
    required=True,
    help="Write the program there.",
    shell_complete=completion.files,
)
@click.option(
    "--target",
    metavar="accelerator|cpu[:PROCESSOR]",
    shell_complete=completion.targets,
    default="accelerator",
    show_default=True,
    help="cpu gives an object file with a C header, for this computer, or for x86_64, aarch64, riscv64, wasm32 or a "
    "triple of theirs.",
)
@click.option(
    "--level",
    metavar="NAME",
    help="Instructions of the processor to use (docs/cpu.md); cpu only.",
    shell_complete=completion.levels,
)
@config_options("16x16")
@fallback_option
@json_option
@quiet_option
def command(
    model: str, output: str, target: str, level: str | None, config_name: str, changes: tuple[str, ...],
    host_fallback: bool, json_file: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Compile an ONNX model to a program file, and say which layers run on the device.

    A program file belongs to one configuration; `tilewright run` runs it without compiling again.

    With --target cpu, compile it for a processor instead, to an object file that C programs are linked with.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    if is_cpu(target):
        is_configured = click.get_current_context().get_parameter_source("config_name") is not ParameterSource.DEFAULT
        if is_configured or changes or host_fallback:
            raise InputError("--config, --set and --host-fallback are for accelerators, not for `--target cpu`")
        compile_for_processor(model, target, level, output, terminal)
        return
    if level is not None:
        raise InputError("--level is for `--target cpu`")
    check_writable(output)
    config = read_config(config_name, changes)
    from tilewright import api

    with terminal.step("compiling"):
        compiled = api.compile(model, config, host_fallback=host_fallback)
    compiled.save(output)
    terminal.write_json(
        {
            "model": compiled.name,
            "config": config.name,
            "hash": config.hash,
            "seconds": dict(terminal.seconds),
            "layers": [asdict(layer) for layer in compiled.layers],
        }
    )
    terminal.show(layer_table(compiled), f"{output}: {compiled.summary()}, in {terminal.seconds['compiling']:.1f} s")


def layer_table(compiled: Compiled) -> Table:
    """List where each layer runs."""
    from rich.markup import escape
    from rich.table import Table

    from tilewright.report import shown_kind

    table = Table("layer", "kind", "runs on", title=escape(compiled.title), title_justify="left")
    for head in ("MACs", "bytes moved", "bytes of tensors"):
        table.add_column(head, justify="right")
    table.add_column("why")
    for layer in compiled.layers:
        amounts = (f"{n:,}" if n else "" for n in (layer.macs, layer.moved_bytes, layer.needed_bytes))
        table.add_row(escape(layer.name), shown_kind(layer.kind), layer.place, *amounts, escape(layer.note))
    return table
