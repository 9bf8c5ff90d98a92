"""What every command keeps to: help that fits a terminal, `--json`, `--quiet`, and values that the shell completes."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tilewright.cli import cli
from tilewright.isa.config import PRESETS

#: Commands that print facts and have no `--json`, with the reason. There is none.
WITHOUT_JSON: dict[str, str] = {}

#: Parameters whose values nobody but the user knows.
THE_USERS_OWN = {
    "sweep run --cluster": "an address",
    "quantize --labels": "an array of the user's file",
    "quantize --dim": "a dimension of the user's model",
    "quantize --fix": "an input of the user's model",
    "run --wave-cycles": "two numbers",
    "bench --list": "a flag",
}


def walk(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command and group with the words that name it."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name), command


ALL = [pytest.param(path, id=" ".join(path) or "tilewright") for path, _ in walk()]
LEAVES = [
    pytest.param(path, command, id=" ".join(path)) for path, command in walk() if not isinstance(command, click.Group)
]


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"], prog_name="tilewright")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("path", ALL)
def test_help_fits_80_columns_and_nothing_is_cut(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_of(path)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    usage, _, rest = shown.partition("\n")
    assert "..." not in rest, usage


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_examples_are_whole_commands(
    path: tuple[str, ...], command: click.Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example that is broken over lines is what the shell makes one command of."""
    monkeypatch.setenv("COLUMNS", "60")
    _, found, shown = help_of(path).partition("Examples:\n")
    assert found
    lines = [line.strip() for line in re.sub(r" \\\n\s*", " ", shown).splitlines() if line.strip()]
    assert lines == list(command._examples)  # type: ignore[attr-defined]
    ours = f"tilewright {' '.join(path)}".removesuffix(" run")
    assert all(ours in line for line in lines)


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_figures_go_to_programs_and_silence_is_possible(path: tuple[str, ...], command: click.Command) -> None:
    options = {name for parameter in command.params for name in parameter.opts}
    if " ".join(path) not in WITHOUT_JSON:
        assert "--json" in options
    assert {"--quiet", "-q"} <= options


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_parameter_is_documented(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help and command.get_short_help_str(200)
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_value_is_completed(path: tuple[str, ...], command: click.Command) -> None:
    context = click.Context(command, info_name=path[-1])
    for parameter in command.params:
        name = f"{' '.join(path)} {parameter.opts[-1]}"
        is_number = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
        if is_number or parameter.name == "help" or getattr(parameter, "is_flag", False) or name in THE_USERS_OWN:
            continue
        assert parameter.shell_complete(context, ""), name


def completions(*arguments: str) -> list[str]:
    """Give what the shell would offer for the last of the arguments."""
    shell = ShellComplete(cli, {}, "tilewright", "_TILEWRIGHT_COMPLETE")
    return [f"{item.type}:{item.value}" for item in shell.get_completions(list(arguments[:-1]), arguments[-1])]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "model.onnx", "--config", "16"), ["file:16", "plain:16x16"]),
        (("demo", "-c", "pynq"), ["file:pynq", "plain:pynq-z1", "plain:pynq-z2"]),
        (("run", "model.onnx", "--on", "f"), ["plain:functional", "plain:fast"]),
        (("diff", "model.onnx", "--right", "r"), ["plain:rtl"]),
        (("run", "mod"), ["file:mod"]),
        (("config", "--set", "gemm.block_i"), ["plain:gemm.block_in="]),
        (("config", "--set", "gemm.block_in=3"), ["plain:gemm.block_in=32"]),
        (("config", "--set", "depthwise.enabled="), ["plain:depthwise.enabled=true", "plain:depthwise.enabled=false"]),
        (("config", "--set", "gemm.nonsense="), []),
        (("synth", "--target", "xc7z02"), ["plain:xc7z020"]),
        (("synth", "--board", "kv"), ["plain:kv260"]),
        (("synth", "--liberty", "cells"), ["file:cells"]),
        (("route", "--target", "xczu"), []),
        (("route", "--target", "xc7z02"), ["plain:xc7z020"]),
        (("route", "--target", "lfe5u-8"), ["plain:lfe5u-85f"]),
        (("project", "de10-n"), ["plain:de10-nano"]),
        (("compile", "m.onnx", "--target", "cpu:a"), ["plain:cpu:aarch64"]),
        (("compile", "m.onnx", "--target", "cpu:aarch64", "--level", ""), ["plain:neon_i8mm", "plain:portable"]),
        (("bench", "acc"), ["plain:accelerator"]),
        (("bench", "accelerator", "--only", "minilm"), ["plain:minilm_l3"]),
        (("sweep", "best", "s.sweep", "--by", "lu"), ["plain:luts"]),
        (("sweep", "co"), ["plain:compare", "plain:confirm"]),
        (("sweep", "spa"), ["file:spa"]),
        (("sweep", "show", "s"), ["dir:s"]),
    ],
)  # fmt: skip
def test_names_are_completed(arguments: tuple[str, ...], expected: list[str]) -> None:
    assert completions(*arguments) == expected


def test_bash_completes_a_preset() -> None:
    """The shell's own way: with the script that `docs/reference/cli.md` says."""
    bash = shutil.which("bash")
    assert bash is not None
    script = 'eval "$(_TILEWRIGHT_COMPLETE=bash_source tilewright)"\n' + inspect.cleandoc("""
        COMP_WORDS=(tilewright run model.onnx --config tin); COMP_CWORD=4
        _tilewright_completion tilewright tin model.onnx 2>/dev/null
        echo "${COMPREPLY[@]}"
    """)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [bash, "-c", script], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.stdout.split() == ["tiny"], done.stderr


def test_presets_are_those_of_the_configuration() -> None:
    names = {text.partition(":")[2] for text in completions("config", "")}
    assert set(PRESETS) <= names
