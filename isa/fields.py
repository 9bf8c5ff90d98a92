"""Fields of instructions and registers: what every encoding is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tilewright.isa.errors import ProgramError


class FieldKind(StrEnum):
    """What a field holds; the assembler, the random-program generator and the tensorizer go by it."""

    OPCODE = "opcode"
    SYNC = "sync"  # one bit per other engine
    FLAG = "flag"
    CHOICE = "choice"
    EXTENT = "extent"
    ADDRESS = "address"  # of a scratchpad entry
    STRIDE = "stride"  # between scratchpad entries
    DRAM_ADDRESS = "dram_address"  # in bytes
    DRAM_STRIDE = "dram_stride"  # in bytes
    DATA = "data"


@dataclass(frozen=True)
class Field:
    """One named group of bits.

    Attributes
    ----------
    name : str
    bits : int
        Width; a field of width 0 does not exist in this configuration and reads as 0.
    kind : FieldKind
    doc : str
    signed : bool
        Whether values are two's complement.
    space : str
        For addresses and strides: the memory.
    choices : mapping of str to int or None
        For `CHOICE`: its values by name.
    align : int
        For DRAM addresses and strides: values are multiples of this.
    maximum : int or None
        The largest value, where that is less than the bits can hold.
    """

    name: str
    bits: int
    kind: FieldKind
    doc: str
    signed: bool = False
    space: str = ""
    choices: Mapping[str, int] | None = None
    align: int = 1
    maximum: int | None = None

    @property
    def values(self) -> range:
        """Every value allowed."""
        if self.maximum is not None:
            return range(self.maximum + 1)
        half = 1 << (self.bits - 1) if self.bits else 0
        return range(-half, max(half, 1)) if self.signed else range(1 << self.bits)

    def normalise(self, value: int) -> int:
        """Bring an address or a stride into the range of its bits, as the hardware's wrapping does."""
        wraps = self.kind in (FieldKind.STRIDE, FieldKind.DRAM_STRIDE)
        return value % (1 << self.bits) if wraps else value

    def check(self, owner: str, value: int) -> int:
        """Return `value`, normalised.

        Raises
        ------
        ProgramError
            If it does not fit into the bits (strides wrap instead), is misaligned, or is none of the choices.
        """
        result = self.normalise(value)
        if value % self.align:
            raise ProgramError(f"{owner}.{self.name} must be a multiple of {self.align}, not {value}")
        if self.choices is not None and value not in self.choices.values():
            raise ProgramError(f"{owner}.{self.name} must be one of {sorted(self.choices.values())}, not {value}")
        if result not in self.values:
            raise ProgramError(
                f"{owner}.{self.name} must be in {self.values.start}..{self.values.stop - 1}, not {value}"
            )
        return result

    def pack(self, value: int) -> int:
        """Return the bits of `value`."""
        return value & ((1 << self.bits) - 1)

    def unpack(self, bits: int) -> int:
        """Return the value of the lowest bits of `bits`."""
        value = bits & ((1 << self.bits) - 1)
        return value - (1 << self.bits) if self.signed and self.bits and value >> (self.bits - 1) else value
