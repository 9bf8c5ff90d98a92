"""What the user chooses: the sections of a configuration, their fields, and the range of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tilewright.isa.errors import ConfigError, shown


@dataclass(frozen=True)
class Limits:
    """The stated range of one configuration field.

    Attributes
    ----------
    low, high : int
        Smallest and largest value; ignored for booleans.
    power_of_two : bool
        Whether only powers of two are allowed.
    doc : str
        One line for the reference page.
    """

    low: int
    high: int
    power_of_two: bool
    doc: str

    def describe(self) -> str:
        """Return the constraint in words."""
        return f"{'a power of two' if self.power_of_two else 'an integer'} in {self.low}..{self.high}"

    def allows(self, value: int) -> bool:
        """Tell whether `value` is in range."""
        return self.low <= value <= self.high and not (self.power_of_two and value & (value - 1))


def _parameter(default: int, low: int, high: int, doc: str, *, power_of_two: bool = False) -> Any:
    return field(default=default, metadata={"limits": Limits(low, high, power_of_two, doc)})


def _switch(default: bool, doc: str) -> Any:
    return field(default=default, metadata={"limits": Limits(0, 1, False, doc)})


@dataclass(frozen=True)
class Gemm:
    """Shape of the multiply-accumulate array."""

    batch: int = _parameter(1, 1, 8, "rows of activations multiplied at once", power_of_two=True)
    block_in: int = _parameter(16, 4, 64, "input channels per step", power_of_two=True)
    block_out: int = _parameter(16, 4, 64, "output channels per step", power_of_two=True)
    acc_bits: int = _parameter(32, 20, 32, "accumulator width in bits; sums wrap")
    cascade: int = _parameter(
        1, 1, 64, "products added one after another, as DSP blocks do, before the adder tree", power_of_two=True
    )
    packed: bool = _switch(False, "whether each multiplier computes two int8 products (needs 25 x 18 bits)")

    @property
    def factor_bits(self) -> int:
        """Bits of an unsigned factor that one multiplier takes, the other factor being signed and narrow.

        Multipliers that compute two products have 25 x 18 bits, with signs; all others are taken to have 18 x 18, as
        ECP5's and half of Cyclone V's have. Wider factors are split here, each part's product in a register of its own.
        """
        return 24 if self.packed else 17


@dataclass(frozen=True)
class Memory:
    """Sizes of the scratchpads."""

    act_kib: int = _parameter(128, 1, 4096, "activation scratchpad in KiB", power_of_two=True)
    wgt_kib: int = _parameter(128, 1, 8192, "weight scratchpad in KiB", power_of_two=True)
    acc_kib: int = _parameter(32, 1, 2048, "accumulator scratchpad in KiB (32 bits a lane)", power_of_two=True)
    prm_entries: int = _parameter(
        128, 8, 4096, "epilogue parameter entries (block_out channels each)", power_of_two=True
    )


@dataclass(frozen=True)
class Bus:
    """The AXI4 memory port."""

    data_bits: int = _parameter(128, 64, 512, "width of the data channels", power_of_two=True)
    address_bits: int = _parameter(32, 20, 40, "width of a DRAM address")
    burst_beats: int = _parameter(64, 1, 256, "longest burst in beats (AXI3 allows 16)", power_of_two=True)
    reads_in_flight: int = _parameter(16, 1, 32, "read bursts outstanding", power_of_two=True)
    writes_in_flight: int = _parameter(8, 1, 32, "write bursts outstanding", power_of_two=True)


@dataclass(frozen=True)
class Queue:
    """Depths of the instruction queues, in instructions, and range of the token counters."""

    load: int = _parameter(16, 2, 128, "instructions waiting for the load engine", power_of_two=True)
    compute: int = _parameter(8, 2, 128, "instructions waiting for the compute engine", power_of_two=True)
    store: int = _parameter(8, 2, 128, "instructions waiting for the store engine", power_of_two=True)
    token_bits: int = _parameter(6, 2, 16, "width of a token counter")


@dataclass(frozen=True)
class Epilogue:
    """What happens between accumulator and activation scratchpad."""

    multiplier_bits: int = _parameter(16, 8, 24, "width of the fixed-point requantization multipliers")
    residual: bool = _switch(True, "whether a second operand with its own scale can be added")
    tables: int = _parameter(2, 0, 16, "resident 256-entry lookup tables, 0 leaves the lookup out", power_of_two=True)
    block_tables: bool = _switch(False, "whether lookup tables are block RAM instead of distributed RAM on FPGAs")
    interval: int = _parameter(
        1, 1, 4, "cycles from a result to the next, whose channels take turns in so many times fewer lanes",
        power_of_two=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Vector:
    """The vector unit."""

    multiply: bool = _switch(True, "whether the vector unit multiplies two operands")
    rows: bool = _switch(False, "whether there is a unit for softmax and normalization along rows")


@dataclass(frozen=True)
class Depthwise:
    """The depthwise mode of the array: every lane gets a window of its own channel."""

    enabled: bool = _switch(True, "whether the array has the depthwise mode")
    columns: int = _parameter(128, 16, 1024, "longest input row of a pass", power_of_two=True)


SECTIONS: dict[str, type] = {
    "gemm": Gemm, "memory": Memory, "bus": Bus, "queue": Queue,
    "epilogue": Epilogue, "vector": Vector, "depthwise": Depthwise,
}  # fmt: skip


def is_switch(path: str) -> bool:
    """Whether a field, `section.field`, is true or false."""
    section, key = path.split(".")
    return isinstance(getattr(SECTIONS[section](), key), bool)


def check_field(path: str, limits: Limits, value: object) -> None:
    """Refuse a value that a field must not have.

    Raises
    ------
    ConfigError
        Naming the field, its constraint and the value.
    """
    if is_switch(path):
        if not isinstance(value, bool):
            raise ConfigError(f"`{path}` must be true or false, not {shown(value)}")
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"`{path}` must be {limits.describe()}, not {shown(value)}")
    if value == 0 and limits.low == 0:
        return
    if not limits.allows(value):
        raise ConfigError(f"`{path}` must be {limits.describe()}, not {shown(value)}")


def check_keys(section: str, values: object) -> dict[str, Any]:
    """Return the fields of a section that values are given for.

    Raises
    ------
    ConfigError
        For a section or a field that there is not, or values that are no mapping.
    """
    if section not in SECTIONS:
        raise ConfigError(f"unknown section `{section}` in configuration; known: {', '.join(SECTIONS)}")
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{section}` must be a section of the configuration, not {shown(values)}")
    known = [f.name for f in fields(SECTIONS[section])]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key `{section}.{key}` in configuration; known: {', '.join(known)}")
    return dict(values)


def section_from(section: str, values: object) -> Any:
    """Build a section; what is left out has its default. Raises as `check_keys` does."""
    return SECTIONS[section](**check_keys(section, values))
