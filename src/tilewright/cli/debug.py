"""`tilewright debug`: step through a program, as it stands or in time."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import config_options, fallback_option, memory_options
from tilewright.cli.subject import compiled_subject, input_options, subject_inputs
from tilewright.cli.terminal import Terminal, read_text

_PROMPT = "(tilewright) "


@click.command(
    "debug",
    cls=TilewrightCommand,
    examples=(
        "tilewright debug model.twp",
        "tilewright debug model.onnx --config 8x8 --input image.npz",
        "tilewright debug model.twp --script commands.txt",
        "tilewright debug model.twp --on fast --latency 100",
        "echo 'break GEMM; continue; print act 0 4' | tr ';' '\\n' | tilewright debug model.twp",
    ),
)
@click.argument("model", metavar="MODEL")
@config_options(None)
@fallback_option
@input_options
@click.option(
    "--on", type=click.Choice(["functional", "fast"]), default="functional", show_default=True,
    help="functional: instructions as they stand. fast: as they end in time, with cycles to break on.",
)  # fmt: skip
@memory_options
@click.option("--script", metavar="FILE", help="Take commands from a file instead of standard input.")
def command(
    model: str, config_name: str | None, changes: tuple[str, ...], host_fallback: bool, input_file: str | None,
    seed: int, on: str, latency: int | None, bandwidth: int | None, outstanding: int | None, script: str | None,
) -> int:  # fmt: skip
    """Step through MODEL, an ONNX model or a compiled program, instruction by instruction.

    Instructions are executed as they stand or, on `fast`, as they end in time. Commands: step, until, continue, break,
    delete, list, where, print, tokens, engines, layers, help, quit. At the end of the commands the program is left
    where it stands.
    """
    terminal = Terminal()
    reader = _reader(script)
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
    timer = FastSimulator(isa, dram, compute_results=False) if on == "fast" else None
    debugger = Debugger(compiled.program, FunctionalSimulator(isa), reader, click.echo, timer)
    try:
        result = run(compiled.program, inputs, debugger)
    except DebuggerQuit:
        return Exit.OK
    for name, array in result.outputs.items():
        click.echo(f"output `{name}`, {array.dtype.name} {array.shape}: {array.ravel()[:16].tolist()}")
    return Exit.OK


def _reader(script: str | None) -> Callable[[], str | None]:
    """Give what reads commands: a file's lines, a terminal's with editing, or those of standard input, repeated."""
    if script is None and sys.stdin.isatty():
        return _ask
    lines = iter(read_text(script).splitlines() if script is not None else sys.stdin)

    def read() -> str | None:
        line = next(lines, None)
        if line is not None:
            click.echo(f"{_PROMPT}{line.rstrip()}")
        return line

    return read


def _ask() -> str | None:
    import readline  # noqa: F401  # editing and history

    try:
        return input(_PROMPT)
    except EOFError:
        return None
