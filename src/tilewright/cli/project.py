"""`tilewright project`: a board's project for its vendor's tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tilewright.cli import completion
from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import change_config, config_options, json_option, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable


@click.command(
    "project",
    cls=TilewrightCommand,
    short_help="Write a board's project for Vivado or Quartus.",
    examples=(
        "tilewright project pynq-z1 build",
        "tilewright project de10-nano build --set memory.act_kib=32 --build",
    ),
)
@click.argument("board_name", metavar="BOARD", shell_complete=completion.boards)
@click.argument("folder", metavar="FOLDER", shell_complete=completion.folders)
@config_options(None)
@click.option("--build", is_flag=True, help="Run Vivado or Quartus there, and read its reports.")
@click.option("--force", is_flag=True, help="Write it even if the estimate says that it does not fit.")
@json_option
@quiet_option
def command(
    board_name: str, folder: str, config_name: str | None, changes: tuple[str, ...], build: bool, force: bool,
    json_file: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Write a Vivado or Quartus project that puts the accelerator on BOARD; without --config, the board's own.

    Vivado's gives the .bit and .hwh that `--on board` loads under PYNQ.
    """
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    from tilewright.fpga import quartus, vivado
    from tilewright.fpga.boards import BOARDS, find_board
    from tilewright.fpga.estimate import check_fit

    board = find_board(board_name)
    config = change_config(board.config, changes) if config_name is None else read_config(config_name, changes)
    if not force:
        check_fit(config, board.device, [other.config for other in BOARDS.values()])
    tool: Any = quartus if board.device.family.name == "cyclonev" else vivado
    with terminal.step("writing"):
        project = tool.project(config, board)
        project.write(Path(folder))
    terminal.show(f"{len(project.files)} files in {folder}; build it there: {' '.join(project.command)}")
    data: dict[str, Any] = {"board": board.name, "config_hash": config.hash, "files": sorted(project.files)}
    if build:
        with terminal.step("building"):
            result = tool.build(project, Path(folder), board.clock_mhz)
        data["result"] = result.as_data()
        used = ", ".join(f"{number:,g} of {available:,g} {name}" for name, (number, available) in result.used.items())
        terminal.show(f"{result.tool} {result.version}, {result.stage}: {used}, {result.fmax_mhz:.1f} MHz")
    terminal.write_json(data)
