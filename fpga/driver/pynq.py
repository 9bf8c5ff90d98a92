"""PYNQ: an overlay, its MMIO and its contiguous memory. The package `pynq` is imported when a board is opened."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError, ToolchainError
from tilewright.isa.registers import ADDRESS_BITS, REGISTERS

#: The accelerator's name in the block design that `tilewright.fpga.vivado` writes.
INSTANCE = "tilewright_0"

_PENDING = next(r for r in REGISTERS if r.name == "IRQ_PENDING").offset
_POLL_SECONDS = 0.0005


class PynqBuffer:
    """Contiguous memory from `pynq.allocate`."""

    def __init__(self, memory: Any):
        self._memory = memory
        self.array: npt.NDArray[np.uint8] = np.asarray(memory)
        self.address = int(memory.device_address)

    def sync_to_device(self) -> None:
        """Write the processor's caches back."""
        self._memory.flush()

    def sync_from_device(self) -> None:
        """Forget what the processor's caches hold."""
        self._memory.invalidate()

    def close(self) -> None:
        """Give the memory back."""
        self.array = np.zeros(0, np.uint8)
        self._memory.freebuffer()


class PynqTransport:
    """An accelerator in a PYNQ overlay.

    Parameters
    ----------
    bitfile : Path
        The `.bit`, its `.hwh` beside it.
    instance : str
        The accelerator's name in the block design.

    Raises
    ------
    ToolchainError
        Without the package `pynq`.
    DeviceError
        If the overlay lacks the accelerator.
    """

    def __init__(self, bitfile: Path, instance: str = INSTANCE):
        self._pynq = _import_pynq()
        if not bitfile.is_file():
            raise DeviceError(f"there is no overlay `{bitfile}`")
        self._overlay = self._pynq.Overlay(str(bitfile))
        blocks = self._overlay.ip_dict
        if instance not in blocks:
            raise DeviceError(f"overlay `{bitfile}` has no block `{instance}`; it has {', '.join(sorted(blocks))}")
        self._registers = self._pynq.MMIO(blocks[instance]["phys_addr"], 1 << ADDRESS_BITS)

    def read(self, offset: int) -> int:
        """Read the 32-bit register at a byte offset."""
        return int(self._registers.read(offset))

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        self._registers.write(offset, value)

    def allocate(self, size_bytes: int) -> PynqBuffer:
        """Give contiguous memory."""
        try:
            return PynqBuffer(self._pynq.allocate(shape=(size_bytes,), dtype=np.uint8))
        except (MemoryError, RuntimeError) as error:
            raise DeviceError(f"the board has no {size_bytes} contiguous bytes: {error}") from error

    def wait_interrupt(self, seconds: float) -> bool:
        """Look at the interrupt register until it is set: PYNQ's own interrupts need a running event loop."""
        end = time.monotonic() + seconds
        while not self.read(_PENDING):
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def close(self) -> None:
        """Free the overlay."""
        self._overlay.free()


def _import_pynq() -> Any:
    try:
        return importlib.import_module("pynq")
    except ImportError:
        raise ToolchainError("the package `pynq` is missing: pip install 'tilewright[pynq]' on the board") from None
