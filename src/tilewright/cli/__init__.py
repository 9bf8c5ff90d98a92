"""The command line. One module per command; each imports what is heavy only when it runs."""

from __future__ import annotations

from tilewright.cli.group import TilewrightGroup

_COMMANDS = (
    "demo", "run", "compile", "tune", "quantize", "isa", "config", "sweep",
    "synth", "route", "project", "bench", "debug", "diff", "replay", "doctor",
)  # fmt: skip

_HELP = """Hardware, compiler and simulators from one accelerator configuration.

\b
tilewright demo                         run the model that ships with it
tilewright run model.onnx --on rtl      run your own
tilewright config 8x8 --toml > my.toml  start a configuration of your own
tilewright sweep space.toml             explore many
tilewright synth --board pynq-z1        count what it takes of an FPGA
tilewright doctor                       say what this machine lacks

Exit codes: 0 all well; 1 a check or a run failed; 2 wrong usage or bad input; 3 a tool is missing; 130 Ctrl-C.
"""

cli = TilewrightGroup("tilewright", help=_HELP, modules={name: f"tilewright.cli.{name}" for name in _COMMANDS})


def main() -> None:
    """Run the command line and exit."""
    cli.main(prog_name="tilewright")
