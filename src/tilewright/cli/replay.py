"""`tilewright replay`: run a program trace on all simulators and compare."""

from __future__ import annotations

from dataclasses import asdict

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.terminal import Terminal, check_writable, write_text


@click.command(
    "replay",
    cls=TilewrightCommand,
    short_help="Run a program trace on all simulators, and compare.",
    examples=("tilewright replay failing.toml", "tilewright replay failing.toml --shrink smaller.toml"),
)
@click.argument("trace", metavar="TRACE", shell_complete=completion.files)
@click.option(
    "--shrink",
    "smaller",
    metavar="FILE",
    help="Where they differ, write a smaller trace that does, too.",
    shell_complete=completion.files,
)
@json_option
@quiet_option
def command(trace: str, smaller: str | None, json_file: str | None, quiet: bool) -> int:
    """Run TRACE, a program as text, on the functional and the fast simulator and the RTL, and compare.

    Memories, scratchpads, tokens, times and counters are compared; random programs that failed in tests are such
    traces. Exit code 1 says that they differ.
    """
    for path in (smaller, json_file):
        check_writable(path)
    terminal = Terminal(quiet, json_file)
    from tilewright.sim.cross_check import check_trace, with_note
    from tilewright.sim.program_trace import ProgramTrace
    from tilewright.sim.shrink import shrink

    loaded = ProgramTrace.load(trace)
    with terminal.step("running"):
        mismatch = check_trace(loaded)
    data = {"trace": trace, "config": loaded.isa.config.name, "hash": loaded.isa.config.hash,
            "instructions": len(loaded.instructions)}  # fmt: skip
    if mismatch is None:
        terminal.write_json({**data, "agree": True})
        terminal.show(f"functional, fast and rtl agree on all {len(loaded.instructions)} instructions of {trace}")
        return Exit.OK
    terminal.show(f"they differ: {mismatch.report}")
    data |= {"agree": False, **asdict(mismatch)}
    if smaller is not None:
        kind = mismatch.kind

        def fails(candidate: ProgramTrace) -> bool:
            found = check_trace(candidate)
            return found is not None and found.kind == kind

        with terminal.step("shrinking"):
            shrunk = shrink(loaded, fails)
        found = check_trace(shrunk)
        write_text(smaller, with_note(shrunk, found or mismatch).to_text())
        terminal.show(f"{smaller}: {len(shrunk.instructions)} instructions")
        data["smaller"] = {"file": smaller, "instructions": len(shrunk.instructions)}
    terminal.write_json(data)
    return Exit.FAILED
