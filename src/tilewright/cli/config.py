"""`tilewright config`: show, check and derive configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tilewright.cli import completion
from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import json_option, quiet_option, read_config, set_option
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from tilewright.isa.config import Config

_DERIVED = (
    ("macs_per_cycle", "multiply-accumulates a cycle"),
    ("lanes", "channels in a row of activations"),
    ("atom", "channels in an entry of the activation scratchpad"),
    ("act_depth", "entries of the activation scratchpad"),
    ("wgt_depth", "entries of the weight scratchpad"),
    ("acc_depth", "entries of the accumulator scratchpad"),
    ("bus_bytes", "bytes a beat of the memory port"),
    ("extent_bits", "bits of a loop extent"),
)


@click.command(
    "config",
    cls=TilewrightCommand,
    short_help="Show, check and derive configurations.",
    examples=(
        "tilewright config 8x8",
        "tilewright config 16x16 --set gemm.block_in=32 --set memory.act_kib=256 --toml > wide.toml",
    ),
)
@click.argument("name", metavar="[NAME|FILE]", default="16x16", shell_complete=completion.configs)
@click.option("--list", "list_presets", is_flag=True, help="List the presets.")
@click.option("--toml", is_flag=True, help="Print the configuration as TOML.")
@set_option
@json_option
@quiet_option
def command(
    name: str, list_presets: bool, toml: bool, changes: tuple[str, ...], json_file: str | None, quiet: bool
) -> None:
    """Show a configuration: its fields with their ranges, what follows from them, and its hash.

    NAME is a preset, FILE a TOML file; fields left out of a file have their defaults. An impossible
    configuration is refused with the field, its range and its value.
    """
    check_writable(json_file)
    if toml and json_file == "-":
        raise click.UsageError("--toml and --json - both write to standard output", click.get_current_context())
    terminal = Terminal(quiet, json_file)
    if list_presets:
        _list_presets(terminal)
        return
    config = read_config(name, changes)
    terminal.write_json(_as_data(config))
    if toml:
        click.echo(config.to_toml(), nl=False)
        return
    _show(config, terminal)


def _as_data(config: Config) -> dict[str, Any]:
    fields = {path: value for path, _, value in config.describe_fields()}
    return {
        "name": config.name,
        "hash": config.hash,
        "fields": fields,
        "derived": {n: getattr(config, n) for n, _ in _DERIVED},
    }


def _show(config: Config, terminal: Terminal) -> None:
    from rich.markup import escape
    from rich.table import Table

    fields = Table(
        "field", "value", "range", "meaning", title=f"{escape(config.name)}, hash {config.hash}", title_justify="left"
    )
    for path, limits, value in config.describe_fields():
        allowed = "true or false" if isinstance(value, bool) else limits.describe()
        fields.add_row(path, str(value).lower(), allowed, limits.doc)
    derived = Table("follows", "value", "meaning")
    for name, doc in _DERIVED:
        derived.add_row(name, str(getattr(config, name)), doc)
    terminal.show(fields, derived)


def _list_presets(terminal: Terminal) -> None:
    from rich.table import Table

    from tilewright.isa.config import PRESETS

    table = Table("preset", "array (batch x in x out)", "act / wgt / acc KiB", "bus bits", "hash")
    for config in PRESETS.values():
        gemm, memory = config.gemm, config.memory
        table.add_row(
            config.name, f"{gemm.batch} x {gemm.block_in} x {gemm.block_out}",
            f"{memory.act_kib} / {memory.wgt_kib} / {memory.acc_kib}", str(config.bus.data_bits), config.hash,
        )  # fmt: skip
    terminal.write_json([_as_data(config) for config in PRESETS.values()])
    terminal.show(table)
