"""How a launch is controlled through the accelerator's registers, on the RTL as on a board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tilewright.isa.config import Config
from tilewright.isa.errors import DeviceError
from tilewright.isa.registers import COUNTERS, MAGIC, REGISTERS, Error

_FIELDS: Mapping[str, tuple[int, int]] = {
    f"{register.name}.{field.name}": (field.shift, field.bits) for register in REGISTERS for field in register.fields
}


class Registers(Protocol):
    """The control and status registers, by the names of `tilewright.isa.registers.REGISTERS`."""

    def read(self, name: str) -> int:
        """Read a register."""
        ...

    def write(self, name: str, value: int) -> int | None:
        """Write a register; a simulator returns the cycle in which it took the value."""
        ...


def check_identity(registers: Registers, config: Config) -> None:
    """Refuse a device that is no Tilewright accelerator, or one of another configuration.

    Raises
    ------
    DeviceError
        Naming what was found and what was expected.
    """
    magic = registers.read("ID")
    if magic != MAGIC:
        raise DeviceError(f"register ID must read 0x{MAGIC:08X}, not 0x{magic:08X}: no Tilewright accelerator")
    found = f"{registers.read('HASH_HIGH'):08x}{registers.read('HASH_LOW'):08x}"
    if found != config.hash:
        raise DeviceError(f"the device was built for configuration {found}, the program is for {config.hash}")


def describe_program(registers: Registers, base: int, offset: int, count: int) -> None:
    """Tell the device where its memory begins, where in it the program lies, and to interrupt when it is over."""
    for name, value in (
        ("IRQ_ENABLE", _bit("IRQ_ENABLE.done")),
        ("BASE_LOW", base & 0xFFFF_FFFF),
        ("BASE_HIGH", base >> 32),
        ("PROGRAM", offset),
        ("COUNT", count),
    ):
        registers.write(name, value)


def start(registers: Registers) -> int | None:
    """Start the program; return what the write did."""
    return registers.write("CONTROL", _bit("CONTROL.start"))


def acknowledge(registers: Registers) -> None:
    """Take back the interrupt line."""
    registers.write("IRQ_PENDING", _bit("IRQ_PENDING.done"))


def abandon(registers: Registers) -> None:
    """Abandon a program that runs."""
    registers.write("CONTROL", _bit("CONTROL.reset"))


def read_error(registers: Registers) -> Error | int:
    """Return why the program stopped, `Error.NONE` when it is done.

    Raises
    ------
    DeviceError
        If it is not over.
    """
    status = registers.read("STATUS")
    error = _extract(status, "STATUS.error")
    if not error and not _extract(status, "STATUS.done"):
        raise DeviceError(f"interrupt without an end: STATUS is 0x{status:08x}")
    return Error(error) if error in list(Error) else error


def error_name(error: Error | int) -> str:
    """Return an error in words."""
    return error.name.lower().replace("_", " ") if isinstance(error, Error) else f"error {error}"


def read_counters(registers: Registers) -> dict[str, int]:
    """Return all performance counters by name."""
    return {
        name: registers.read(f"{name.upper()}_LOW") | registers.read(f"{name.upper()}_HIGH") << 32
        for name, _ in COUNTERS
    }


def _bit(field: str) -> int:
    return 1 << _FIELDS[field][0]


def _extract(value: int, field: str) -> int:
    shift, bits = _FIELDS[field]
    return value >> shift & ((1 << bits) - 1)
