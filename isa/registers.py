"""The control and status registers, seen over AXI4-Lite: one table for RTL, drivers, C header and reference page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Access(StrEnum):
    """How software may touch a register."""

    READ = "read"
    READ_WRITE = "read/write"
    WRITE = "write"  # acts when written, reads 0
    CLEAR = "write one to clear"


class Error(IntEnum):
    """Why a run stopped; in `STATUS.error`."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    READ_RESPONSE = 2
    WRITE_RESPONSE = 3
    DEADLOCK = 4
    BUSY = 5  # started while running


@dataclass(frozen=True)
class RegisterField:
    """A named group of bits of a register."""

    name: str
    shift: int
    bits: int
    doc: str


@dataclass(frozen=True)
class Register:
    """A 32-bit register."""

    name: str
    offset: int
    access: Access
    doc: str
    fields: tuple[RegisterField, ...] = ()


MAGIC = 0x544C5752  # "TLWR"

#: Performance counters, each 64 bits wide at two consecutive registers, cleared by a start.
COUNTERS: tuple[tuple[str, str], ...] = (
    ("cycles", "cycles from start to finish"),
    ("load_busy", "cycles in which the load engine worked on an instruction"),
    ("load_wait", "cycles in which the load engine's next instruction waited for tokens"),
    ("compute_busy", "cycles in which the sequencer issued a step"),
    ("compute_wait", "cycles in which the compute engine's next instruction waited for tokens"),
    ("compute_fence", "cycles in which the compute engine's next instruction waited for its fence"),
    ("store_busy", "cycles in which the store engine worked on an instruction"),
    ("store_wait", "cycles in which the store engine's next instruction waited for tokens"),
    ("fetch_wait", "cycles in which a fetched instruction waited for room in its queue"),
    ("gemm_steps", "steps of the array; each is batch * block_in * block_out multiply-accumulates"),
    ("read_beats", "beats on the read data channel"),
    ("read_bursts", "bursts requested on the read address channel"),
    ("write_beats", "beats on the write data channel"),
    ("write_bursts", "bursts requested on the write address channel"),
)

COUNTER_BASE = 0x80


def _counter_registers() -> tuple[Register, ...]:
    return tuple(
        Register(f"{name.upper()}_{half}", COUNTER_BASE + 8 * i + 4 * j, Access.READ, f"{doc} ({half.lower()} half)")
        for i, (name, doc) in enumerate(COUNTERS)
        for j, half in enumerate(("LOW", "HIGH"))
    )


REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x00, Access.READ, f"always 0x{MAGIC:08X}"),
    Register("VERSION", 0x04, Access.READ, "ISA version"),
    Register("HASH_LOW", 0x08, Access.READ, "configuration hash, low half"),
    Register("HASH_HIGH", 0x0C, Access.READ, "configuration hash, high half"),
    Register(
        "CONTROL",
        0x10,
        Access.WRITE,
        "commands",
        (
            RegisterField("start", 0, 1, "start the program"),
            RegisterField("reset", 1, 1, "abandon everything, return to idle"),
        ),
    ),
    Register(
        "STATUS",
        0x14,
        Access.READ,
        "state",
        (
            RegisterField("busy", 0, 1, "a program runs"),
            RegisterField("done", 1, 1, "a program has finished since the last start"),
            RegisterField("error", 8, 8, "why the program stopped; see Error"),
        ),
    ),
    Register(
        "IRQ_ENABLE",
        0x18,
        Access.READ_WRITE,
        "interrupts",
        (RegisterField("done", 0, 1, "raise the interrupt line when done or stopped"),),
    ),
    Register(
        "IRQ_PENDING", 0x1C, Access.CLEAR, "interrupts pending", (RegisterField("done", 0, 1, "done or stopped"),)
    ),
    Register("BASE_LOW", 0x20, Access.READ_WRITE, "added to every DRAM address, a multiple of 4096; low half"),
    Register("BASE_HIGH", 0x24, Access.READ_WRITE, "high half of BASE"),
    Register("PROGRAM", 0x28, Access.READ_WRITE, "byte offset of the first instruction from BASE, a multiple of 64"),
    Register("COUNT", 0x2C, Access.READ_WRITE, "number of instructions"),
    *_counter_registers(),
)

#: Width of a register's byte offset.
ADDRESS_BITS = 10
