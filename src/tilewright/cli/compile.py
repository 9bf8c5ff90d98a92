"""`tilewright compile`: from a model to a program file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import config_options, fallback_option, json_option, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.api import Compiled


@click.command(
    "compile",
    cls=TilewrightCommand,
    examples=(
        "tilewright compile model.onnx -o model.twp",
        "tilewright compile model.onnx -o model.twp --config 8x8 --set memory.act_kib=32",
    ),
)
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", metavar="FILE", required=True, help="Write the program there.")
@config_options("16x16")
@fallback_option
@json_option
@quiet_option
def command(
    model: str, output: str, config_name: str, changes: tuple[str, ...], host_fallback: bool, json_file: str | None,
    quiet: bool,
) -> None:  # fmt: skip
    """Compile an ONNX model to a program file, and say which layers run on the device.

    A program file belongs to one configuration; `tilewright run` runs it without compiling again.
    """
    check_writable(output)
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
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

    table = Table("layer", "kind", "runs on", "MACs", "why", title=escape(compiled.title), title_justify="left")
    for layer in compiled.layers:
        macs = f"{layer.macs:,}" if layer.macs else ""
        table.add_row(escape(layer.name), shown_kind(layer.kind), layer.place, macs, escape(layer.note))
    return table
