"""The driver: one buffer that is the accelerator's memory, and its registers by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tilewright.fpga.driver.transport import Transport
from tilewright.isa.config import Config
from tilewright.isa.errors import DeviceError
from tilewright.isa.registers import MAGIC, REGISTERS

#: What `BASE` must be a multiple of.
BASE_ALIGNMENT = 4096

_OFFSETS: Mapping[str, int] = {register.name: register.offset for register in REGISTERS}


class BoardDriver:
    """What `tilewright.sim.board.BoardSimulator` drives a board by.

    Parameters
    ----------
    transport : Transport
    config : Config
        Of the accelerator that must be there; checked before memory is asked for.
    size_bytes : int
        Memory to ask for.

    Attributes
    ----------
    base : int
        Address of the memory on the accelerator's bus.
    size_bytes : int

    Raises
    ------
    DeviceError
        If there is no accelerator, one of another configuration, or no such memory.
    """

    def __init__(self, transport: Transport, config: Config, size_bytes: int):
        self._transport = transport
        self._check_identity(config)
        self._buffer = transport.allocate(size_bytes)
        self.base = self._buffer.address
        self.size_bytes = size_bytes
        if self.base % BASE_ALIGNMENT:
            raise DeviceError(f"the memory must begin at a multiple of {BASE_ALIGNMENT}, not at 0x{self.base:x}")
        if self.base + size_bytes > 1 << config.bus.address_bits:
            raise DeviceError(
                f"the memory ends at 0x{self.base + size_bytes:x}, beyond `bus.address_bits` = "
                f"{config.bus.address_bits} of the accelerator"
            )

    def _check_identity(self, config: Config) -> None:
        magic = self.read("ID")
        if magic != MAGIC:
            raise DeviceError(f"register ID must read 0x{MAGIC:08X}, not 0x{magic:08X}: no Tilewright accelerator")
        found = f"{self.read('HASH_HIGH'):08x}{self.read('HASH_LOW'):08x}"
        if found != config.hash:
            raise DeviceError(f"the device was built for configuration {found}, the program is for {config.hash}")

    def read(self, name: str) -> int:
        """Read a register by name."""
        return self._transport.read(_OFFSETS[name])

    def write(self, name: str, value: int) -> None:
        """Write a register by name."""
        self._transport.write(_OFFSETS[name], value & 0xFFFF_FFFF)

    def upload(self, data: npt.NDArray[np.uint8]) -> None:
        """Copy to the beginning of the memory, so that the accelerator sees it."""
        self._buffer.array[: len(data)] = data
        self._buffer.sync_to_device()

    def download(self, data: npt.NDArray[np.uint8]) -> None:
        """Copy from the beginning of the memory what the accelerator has written."""
        self._buffer.sync_from_device()
        data[:] = self._buffer.array[: len(data)]

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt line; tell whether it is high."""
        return self._transport.wait_interrupt(seconds)

    def close(self) -> None:
        """Give the memory back and let go of the machine."""
        self._buffer.close()
        self._transport.close()
