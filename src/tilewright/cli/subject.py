"""What a command runs: a model or a program file, and its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilewright.cli import completion
from tilewright.cli.options import change_config, read_config
from tilewright.isa.errors import InputError, ProgramError

if TYPE_CHECKING:
    from tilewright.api import Compiled
    from tilewright.arrays import Arrays
    from tilewright.cli.terminal import Terminal
    from tilewright.cpu import CpuModel
    from tilewright.gpu import GpuModel
    from tilewright.isa.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])


def model_argument(command: Command) -> Command:
    """Add `MODEL`, a file."""
    return click.argument("model", metavar="MODEL", shell_complete=completion.files)(command)


def input_options(command: Command) -> Command:
    """Add `--input` and `--seed`."""
    seed = click.option("--seed", default=0, show_default=True, help="Seed of random inputs.")
    text = "Inputs by name; without it, random ones."
    file = click.option("--input", "input_file", metavar="X.npz", help=text, shell_complete=completion.files)
    return file(seed(command))


def compiled_subject(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, terminal: Terminal
) -> Compiled:
    """Compile a model, or read a program file and check that it is for the configuration asked for."""
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


def subject_inputs(
    compiled: Compiled | CpuModel | GpuModel, input_file: str | None, seed: int, terminal: Terminal
) -> Arrays:
    """Read inputs, or draw random ones and say so."""
    from tilewright.arrays import random_inputs, read_arrays

    if input_file is None:
        terminal.show(f"no --input: random inputs, seed {seed}")
        return random_inputs(compiled.inputs, seed)
    arrays = read_arrays(input_file)
    if not arrays:
        raise InputError(f"`{input_file}` holds no arrays")
    return arrays
