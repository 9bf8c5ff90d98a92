"""`tilewright synth`: what the accelerator takes of an FPGA or in gates of an ASIC."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tilewright.cli import asic_table, completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import change_config, config_options, json_option, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.fpga.boards import Board
    from tilewright.fpga.devices import Device
    from tilewright.fpga.report import SynthesisReport
    from tilewright.isa.config import Config


@click.command(
    "synth",
    cls=TilewrightCommand,
    short_help="Count what the accelerator takes of an FPGA, or in gates, by Yosys.",
    examples=(
        "tilewright synth --board pynq-z1",
        "tilewright synth --config 8x8 --target lfe5u-85f --json synth.json",
        "tilewright synth --config 8x8 --liberty cells.lib",
        "tilewright synth --list",
    ),
)
@config_options(None)
@click.option("--target", metavar="DEVICE", help="Device; `--list` names them.", shell_complete=completion.devices)
@click.option(
    "--board",
    "board_name",
    metavar="BOARD",
    help="Board: its device, and its configuration unless given.",
    shell_complete=completion.boards,
)
@click.option(
    "--liberty",
    metavar="FILE.lib",
    help="Library of standard cells: area of an ASIC's gates.",
    shell_complete=completion.files,
)
@click.option("--estimate", is_flag=True, help="Estimate from the configuration alone; takes no time.")
@click.option("--force", is_flag=True, help="Synthesize even if the estimate says that it does not fit.")
@click.option("--netlist", metavar="FILE.v", help="Write the mapped netlist there.", shell_complete=completion.files)
@click.option("--list", "list_targets", is_flag=True, help="Name devices and boards.")
@json_option
@quiet_option
def command(
    config_name: str | None, changes: tuple[str, ...], target: str | None, board_name: str | None,
    liberty: str | None, estimate: bool, force: bool, netlist: str | None, list_targets: bool, json_file: str | None,
    quiet: bool,
) -> int:  # fmt: skip
    """Synthesize the accelerator with Yosys and count what it takes, module by module.

    The figures are of the stage synth-estimate: before optimization across modules, placement and routing. Exit code
    1 says that the design does not fit. Gates of an ASIC are counted without wires, clock tree and memories.
    """
    for path in (json_file, netlist):
        check_writable(path)
    terminal = Terminal(quiet, json_file)
    if list_targets:
        terminal.write_json(_targets_as_data())
        terminal.show(*_targets())
        return Exit.OK
    _check_choice(target, board_name, liberty, estimate or force)
    if liberty is not None:
        asic_table.count_gates(_config(config_name, changes, None), liberty, netlist, terminal)
        return Exit.OK
    board, device = _find(target, board_name)
    config = _config(config_name, changes, board)
    from tilewright.fpga import report
    from tilewright.fpga.estimate import check_fit
    from tilewright.sim.rtl.cache import Cache, user_cache

    if estimate:
        found = report.estimated(config, device)
    else:
        if not force:
            check_fit(config, device, _presets())
        with terminal.step("synthesizing"):
            found = report.synthesized(config, device, Cache(user_cache() / "fpga"))
    if netlist is not None and found.netlist is not None:
        from tilewright.cli.terminal import write_bytes

        write_bytes(netlist, found.netlist.read_bytes())
    terminal.write_json(found.as_data())
    _show(found, terminal)
    return Exit.OK if found.fits else Exit.FAILED


def _check_choice(target: str | None, board_name: str | None, liberty: str | None, is_for_fpgas: bool) -> None:
    """Refuse all but one of the three that say what to synthesize for."""
    context = click.get_current_context()
    if [target, board_name, liberty].count(None) != 2:
        raise click.UsageError(
            "give --target DEVICE or --board BOARD (`--list` names them), or --liberty FILE", context
        )
    if liberty is not None and is_for_fpgas:
        raise click.UsageError("--estimate and --force are for FPGAs, not for --liberty", context)


def _find(target: str | None, board_name: str | None) -> tuple[Board | None, Device]:
    from tilewright.fpga.boards import find_board
    from tilewright.fpga.devices import find_device

    if board_name is not None:
        board = find_board(board_name)
        return board, board.device
    return None, find_device(str(target))


def _config(name: str | None, changes: tuple[str, ...], board: Board | None) -> Config:
    if name is None and board is not None:
        return change_config(board.config, changes)
    return read_config(name or "16x16", changes)


def _presets() -> list[Config]:
    from tilewright.fpga.boards import BOARDS
    from tilewright.isa.config import PRESETS

    return [*PRESETS.values(), *(board.config for board in BOARDS.values())]


def _targets() -> list[Any]:
    from rich.table import Table

    from tilewright.fpga.boards import BOARDS
    from tilewright.fpga.devices import DEVICES

    devices = Table("device", "part", "family", title="Devices", title_justify="left")
    for head in ("LUT", "FF", "DSP", "RAM"):
        devices.add_column(head, justify="right")
    for d in DEVICES.values():
        amounts = (f"{n:,.0f}" for n in (d.budget.lut, d.budget.ff, d.budget.dsp, d.budget.ram))
        devices.add_row(d.name, d.part, d.family.name, *amounts)
    boards = Table("board", "device", "host", "array", "act, wgt, acc in KiB", title="Boards", title_justify="left")
    for b in BOARDS.values():
        gemm, memory = b.config.gemm, b.config.memory
        sizes = f"{memory.act_kib}, {memory.wgt_kib}, {memory.acc_kib}"
        boards.add_row(b.name, b.device.name, b.host, f"{gemm.block_in}x{gemm.block_out}", sizes)
    return [devices, boards]


def _targets_as_data() -> dict[str, Any]:
    from tilewright.fpga.boards import BOARDS
    from tilewright.fpga.devices import DEVICES

    devices = [{"name": d.name, "part": d.part, "family": d.family.name, **asdict(d.budget)} for d in DEVICES.values()]
    boards = [
        {"name": b.name, "title": b.title, "device": b.device.name, "host": b.host, "hash": b.config.hash}
        for b in BOARDS.values()
    ]
    return {"devices": devices, "boards": boards}


def _show(found: SynthesisReport, terminal: Terminal) -> None:
    terminal.show(f"{found.config.name} on {found.device.name}: {found.stage} by {found.tool} {found.version}")
    terminal.show(_summary(found))
    if found.modules:
        terminal.show(_modules(found))
    terminal.show("fits" if found.fits else "does not fit")


def _summary(found: SynthesisReport) -> Table:
    from rich.table import Table

    table = Table("resource")
    for head in ("taken", "available", "part"):
        table.add_column(head, justify="right")
    for name, taken, available in found.rows():
        part = f"{100 * taken / available:.0f} %" if available else ""
        table.add_row(name, f"{taken:,.1f}".removesuffix(".0"), f"{available:,.0f}" if available else "", part)
    return table


def _modules(found: SynthesisReport) -> Table:
    from rich.table import Table

    table = Table("module, without its submodules", title_justify="left")
    for head in ("instances", "LUT", "FF", "carry", "DSP", "RAM"):
        table.add_column(head, justify="right")
    for use in found.modules[: asic_table.MODULES_SHOWN]:
        own = use.own
        amounts = (f"{n:,.1f}".removesuffix(".0") for n in (own.lut, own.ff, own.carry, own.dsp, own.ram))
        table.add_row(use.name, str(use.count), *amounts)
    return table
