"""What a driver needs of a machine: registers, memory that the accelerator reaches, and the interrupt line."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Buffer(Protocol):
    """Memory that processor and accelerator both reach.

    Attributes
    ----------
    array : array of uint8
        A view of it.
    address : int
        Of its first byte, on the accelerator's bus.
    """

    array: npt.NDArray[np.uint8]
    address: int

    def sync_to_device(self) -> None:
        """Let the accelerator see what the processor has written."""
        ...

    def sync_from_device(self) -> None:
        """Let the processor see what the accelerator has written."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


class Transport(Protocol):
    """The way to one accelerator."""

    def read(self, offset: int) -> int:
        """Read the 32-bit register at a byte offset."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        ...

    def allocate(self, size_bytes: int) -> Buffer:
        """Give memory that begins at a multiple of 4096.

        Raises
        ------
        DeviceError
            If there is not as much.
        """
        ...

    def wait_interrupt(self, seconds: float) -> bool:
        """Wait until the interrupt line is high; tell whether it is."""
        ...

    def close(self) -> None:
        """Let go of the machine."""
        ...
