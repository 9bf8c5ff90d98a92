"""Options that several commands share; each means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilewright.cli import completion
from tilewright.isa.errors import ConfigError

if TYPE_CHECKING:
    from tilewright.isa.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])

#: What `--on` takes.
SIMULATORS = ("functional", "fast", "rtl")


def quiet_option(command: Command) -> Command:
    """Add `--quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and data asked for.")(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE|-",
        help="Write the figures as JSON; - is standard output.",
        shell_complete=completion.files,
    )(command)


def config_options(default: str | None) -> Callable[[Command], Command]:
    """Add `--config` and `--set`; `read_config` makes a Config of them."""

    def decorate(command: Command) -> Command:
        described = "Preset (see `tilewright config --list`) or TOML file."
        command = set_option(command)
        return click.option(
            "-c",
            "--config",
            "config_name",
            metavar="NAME|FILE",
            default=default,
            show_default=default is not None,
            help=described,
            shell_complete=completion.configs,
        )(command)

    return decorate


def set_option(command: Command) -> Command:
    """Add `--set`."""
    text = "Change a field of the configuration; may be repeated."
    return click.option(
        "--set",
        "changes",
        metavar="SECTION.FIELD=VALUE",
        multiple=True,
        help=text,
        shell_complete=completion.changes,
    )(command)


def simulator_option(default: str, *others: str) -> Callable[[Command], Command]:
    """Add `--on`, which takes `others` beside the simulators and the board."""
    text = (
        "Simulator: functional (results, no cycles), fast (results, and the RTL's cycles from a model of it) "
        "or rtl (the generated hardware, cycle by cycle); or the board."
    )
    if "cpu" in others:
        text += " Or cpu: the same integer model on this processor."
    if "gpu" in others:
        text += " Or gpu: the same on an NVIDIA GPU."
    return click.option(
        "--on", type=click.Choice((*SIMULATORS, "board", *others)), default=default, show_default=True, help=text
    )


def fallback_option(command: Command) -> Command:
    """Add `--host-fallback`."""
    text = "Let the host compute a layer that does not fit the scratchpads, instead of refusing the model."
    return click.option("--host-fallback", is_flag=True, help=text)(command)


def memory_options(command: Command) -> Command:
    """Add `--latency`, `--bandwidth` and `--outstanding`: the simulated DRAM."""
    options = (
        click.option("--latency", type=click.IntRange(1, 100_000), help="Simulated DRAM: cycles from address to data."),
        click.option(
            "--bandwidth", type=click.IntRange(1, 1024), metavar="BYTES", help="Simulated DRAM: bytes a cycle."
        ),
        click.option("--outstanding", type=click.IntRange(1, 256), help="Simulated DRAM: bursts at once."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_config(name: str, changes: Iterable[str] = ()) -> Config:
    """Read a preset, a board's or another, or a file, and change the fields that `SECTION.FIELD=VALUE` texts name."""
    from tilewright.fpga.boards import BOARDS
    from tilewright.isa.config import Config

    return change_config(BOARDS[name].config if name in BOARDS else Config.load(name), changes)


def change_config(config: Config, changes: Iterable[str]) -> Config:
    """Change the fields of a configuration that `SECTION.FIELD=VALUE` texts name."""
    sections: dict[str, dict[str, int | bool]] = {}
    for text in changes:
        path, value = _parse_change(text)
        section, _, field = path.partition(".")
        sections.setdefault(section, {})[field] = value
    if not sections:
        return config
    return config.with_values(name=f"{config.name}*", **sections)


def _parse_change(text: str) -> tuple[str, int | bool]:
    path, equals, value = text.partition("=")
    if not equals or path.count(".") != 1:
        raise ConfigError(f"a change is written SECTION.FIELD=VALUE, such as gemm.block_in=8, not `{text}`")
    if value.lower() in ("true", "false"):
        return path.strip(), value.lower() == "true"
    try:
        return path.strip(), int(value, 0)
    except ValueError:
        raise ConfigError(f"`{path}` must be an integer, true or false, not `{value}`") from None
