"""The driver: one for boards under Linux, under PYNQ, and for the RTL simulator; and one in C."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tilewright.fpga.driver.board_driver import BoardDriver
from tilewright.fpga.driver.linux import find_linux
from tilewright.fpga.driver.pynq import PynqTransport
from tilewright.fpga.driver.transport import Transport
from tilewright.isa.config import Config
from tilewright.isa.errors import DeviceError

#: Memory that is asked for unless told otherwise.
DEFAULT_BYTES = 32 << 20


def bitfile_name(config: Config) -> str:
    """Return the name of a configuration's overlay."""
    return f"tilewright_{config.hash}.bit"


def open_board(config: Config, size_bytes: int = DEFAULT_BYTES, folder: Path | None = None) -> BoardDriver:
    """Open the accelerator of this machine.

    Parameters
    ----------
    config : Config
        What the accelerator must have been built from.
    size_bytes : int
        Memory for programs and their data.
    folder : Path, optional
        Where overlays for PYNQ lie, `bitfile_name`; by default the current folder.

    Raises
    ------
    DeviceError
        If there is none, or one of another configuration.
    """
    return BoardDriver(_transport(config, folder or Path.cwd()), config, size_bytes)


def _transport(config: Config, folder: Path) -> Transport:
    linux = find_linux()
    if linux is not None:
        return linux
    bitfile = folder / bitfile_name(config)
    if importlib.util.find_spec("pynq") is not None:
        return PynqTransport(bitfile)
    raise DeviceError(
        "no accelerator on this machine: neither a UIO device named `tilewright` with a u-dma-buf device, nor the "
        f"package `pynq` with an overlay `{bitfile.name}`; `tilewright project` makes what is put on a board"
    )
