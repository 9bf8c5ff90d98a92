"""Linux: registers by UIO, memory by u-dma-buf."""

from __future__ import annotations

import mmap
import os
import select
import struct
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError
from tilewright.isa.registers import ADDRESS_BITS, REGISTERS

_WORD = struct.Struct("<I")

#: What a UIO device's `name` says, from the device tree's node.
UIO_NAME = "tilewright"

_TO_DEVICE, _FROM_DEVICE = 1, 2

_PENDING = next(r for r in REGISTERS if r.name == "IRQ_PENDING").offset


class UdmaBuffer:
    """The memory of one u-dma-buf device.

    Parameters
    ----------
    device : Path
        `/dev/udmabuf0`, say.
    attributes : Path
        Its folder in sysfs, with `phys_addr`, `size`, `sync_for_device`, ...
    size_bytes : int

    Raises
    ------
    DeviceError
        If it cannot be opened or is smaller.
    """

    def __init__(self, device: Path, attributes: Path, size_bytes: int):
        self._attributes = attributes
        self._size = size_bytes
        available = int(self._attribute("size"), 0)
        if size_bytes > available:
            raise DeviceError(f"{device} must have {size_bytes} bytes, not {available}")
        self.address = int(self._attribute("phys_addr"), 0)
        self._map = _mapped(device, size_bytes)
        self.array: npt.NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def _attribute(self, name: str) -> str:
        path = self._attributes / name
        try:
            return path.read_text().strip()
        except OSError as error:
            raise DeviceError(f"cannot read {path}: {error.strerror}") from error

    def _sync(self, owner: str, direction: int) -> None:
        path = self._attributes / f"sync_for_{owner}"
        command = self._size << 32 | direction << 2 | 1  # offset 0
        try:
            path.write_text(f"0x{command:016X}")
        except OSError as error:
            raise DeviceError(f"cannot write {path}: {error.strerror}") from error

    def sync_to_device(self) -> None:
        """Write the processor's caches back."""
        self._sync("device", _TO_DEVICE)

    def sync_from_device(self) -> None:
        """Forget what the processor's caches hold."""
        self._sync("cpu", _FROM_DEVICE)

    def close(self) -> None:
        """Unmap the memory."""
        self.array = np.zeros(0, np.uint8)
        self._map.close()


class LinuxTransport:
    """An accelerator behind a UIO device and a u-dma-buf device.

    Parameters
    ----------
    uio : Path
        `/dev/uio0`, say.
    buffer : Path
        `/dev/udmabuf0`, say.
    buffer_attributes : Path
        The latter's folder in sysfs.
    interrupt : Path, optional
        What interrupts are read from, when it is not the UIO device itself.
    """

    def __init__(self, uio: Path, buffer: Path, buffer_attributes: Path, interrupt: Path | None = None):
        self._buffer, self._attributes = buffer, buffer_attributes
        self._registers = _mapped(uio, 1 << ADDRESS_BITS)
        self._interrupt = _opened(interrupt or uio)

    def read(self, offset: int) -> int:
        """Read the 32-bit register at a byte offset."""
        return int(_WORD.unpack_from(self._registers, offset)[0])

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        _WORD.pack_into(self._registers, offset, value)

    def allocate(self, size_bytes: int) -> UdmaBuffer:
        """Give the first bytes of the u-dma-buf device: there is one buffer."""
        return UdmaBuffer(self._buffer, self._attributes, size_bytes)

    def wait_interrupt(self, seconds: float) -> bool:
        """Wait for an interrupt, and let the kernel take the next one."""
        end = time.monotonic() + seconds
        while not self.read(_PENDING):
            remaining = end - time.monotonic()
            if remaining <= 0:
                return False
            os.write(self._interrupt, _WORD.pack(1))  # enable: the kernel disables an interrupt that came
            if select.select([self._interrupt], [], [], remaining)[0]:
                os.read(self._interrupt, _WORD.size)
        return True

    def close(self) -> None:
        """Unmap the registers."""
        self._registers.close()
        os.close(self._interrupt)


def find_linux() -> LinuxTransport | None:
    """Find the accelerator in sysfs: a UIO device named `tilewright`, and the first u-dma-buf device."""
    names = sorted(Path("/sys/class/uio").glob("uio*/name"))
    devices = [path.parent.name for path in names if path.read_text().strip().startswith(UIO_NAME)]
    buffers = sorted(Path("/sys/class/u-dma-buf").glob("*"))
    if not devices or not buffers:
        return None
    return LinuxTransport(Path("/dev") / devices[0], Path("/dev") / buffers[0].name, buffers[0])


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_SYNC)
    except OSError as error:
        raise DeviceError(f"cannot open {path}: {error.strerror}") from error


def _mapped(path: Path, size_bytes: int) -> mmap.mmap:
    descriptor = _opened(path)
    try:
        return mmap.mmap(descriptor, size_bytes)
    except (OSError, ValueError) as error:
        raise DeviceError(f"cannot map {size_bytes} bytes of {path}: {error}") from error
    finally:
        os.close(descriptor)
