"""`tilewright debug`: step through a program, as it stands or in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import config_options, fallback_option, json_option, memory_options, quiet_option
from tilewright.cli.subject import compiled_subject, input_options, model_argument, subject_inputs
from tilewright.cli.terminal import Terminal, check_writable, read_text

_PROMPT = "(tilewright) "


@click.command(
    "debug",
    cls=TilewrightCommand,
    short_help="Step through a program, as it stands or in time.",
    examples=(
        "tilewright debug model.twp",
        "tilewright debug model.onnx --config 8x8 --input image.npz",
        "tilewright debug model.twp --script commands.txt --json -",
        "tilewright debug model.twp --on fast --latency 100",
        "echo 'break GEMM; continue; print act 0 4' | tr ';' '\\n' | tilewright debug model.twp",
    ),
)
@model_argument
@config_options(None)
@fallback_option
@input_options
@click.option(
    "--on", type=click.Choice(["functional", "fast"]), default="functional", show_default=True,
    help="functional: instructions as they stand. fast: as they end in time, with cycles to break on.",
)  # fmt: skip
@memory_options
@click.option(
    "--script",
    metavar="FILE",
    help="Take commands from a file instead of standard input.",
    shell_complete=completion.files,
)
@json_option
@quiet_option
def command(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, input_file: str | None,
    seed: int, on: str, latency: int | None, bandwidth: int | None, outstanding: int | None, script: str | None,
    json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Step through MODEL, an ONNX model or a compiled program, instruction by instruction.

    Instructions are executed as they stand or, on `fast`, as they end in time. Commands: step, until, continue, break,
    delete, list, where, print, tokens, engines, layers, help, quit. At the end of the commands the program is left
    where it stands. --json keeps commands and answers, and the outputs of a program that ended.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    transcript = Transcript(terminal)
    reader = _reader(script, transcript)
    from tilewright import api
    from tilewright.isa.instructions import instruction_set
    from tilewright.sim.debugger import Debugger, DebuggerQuit
    from tilewright.sim.fast import FastSimulator
    from tilewright.sim.functional import FunctionalSimulator
    from tilewright.sim.runner import run

    compiled = compiled_subject(model, config_name, changes, host_fallback, terminal)
    inputs = subject_inputs(compiled, input_file, seed, terminal)
    isa = instruction_set(compiled.config)
    dram = api.dram_timing(latency, bandwidth, outstanding)
    with terminal.step("building"):
        timer = FastSimulator(isa, dram, compute_results=False) if on == "fast" else None
        debugger = Debugger(compiled.program, FunctionalSimulator(isa), reader, transcript.answer, timer)
    data: dict[str, Any] = {"config": compiled.config.name, "hash": compiled.config.hash, "on": on}
    try:
        outputs = run(compiled.program, inputs, debugger).outputs
    except DebuggerQuit:
        outputs = {}
    for name, array in outputs.items():
        transcript.echo(f"output `{name}`, {array.dtype.name} {array.shape}: {array.ravel()[:16].tolist()}")
    data |= {"ended": bool(outputs), "commands": transcript.commands}
    terminal.write_json({**data, "outputs": {name: array.tolist() for name, array in outputs.items()}})
    return Exit.OK


class Transcript:
    """Shows commands and answers, and keeps them.

    Parameters
    ----------
    terminal : Terminal

    Attributes
    ----------
    commands : list of dict
        Each with `command` and `answer`, a list of lines; the first command is empty: what is said at the start.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.commands: list[dict[str, Any]] = [{"command": "", "answer": []}]
        self._is_quiet, self._to_error = terminal.quiet, terminal.json == "-"

    def command(self, line: str) -> None:
        """Keep a command."""
        self.commands.append({"command": line.strip(), "answer": []})

    def answer(self, text: str) -> None:
        """Keep what it is answered with, and show it."""
        self.commands[-1]["answer"] += text.splitlines()
        self.echo(text)

    def echo(self, text: str) -> None:
        """Show a text."""
        if not self._is_quiet:
            click.echo(text, err=self._to_error)


def _reader(script: str | None, transcript: Transcript) -> Callable[[], str | None]:
    """Give what reads commands: a file's lines, a terminal's with editing, or those of standard input, repeated."""
    if script is None and sys.stdin.isatty():
        return lambda: _ask(transcript)
    lines = iter(read_text(script).splitlines() if script is not None else sys.stdin)

    def read() -> str | None:
        line = next(lines, None)
        if line is not None:
            transcript.echo(f"{_PROMPT}{line.rstrip()}")
            transcript.command(line)
        return line

    return read


def _ask(transcript: Transcript) -> str | None:
    import readline  # noqa: F401  # editing and history

    try:
        line = input(_PROMPT)
    except EOFError:
        return None
    transcript.command(line)
    return line
