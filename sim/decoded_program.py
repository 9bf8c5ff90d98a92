"""Programs decoded as a whole: every field of every instruction of a kind in one array operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tilewright.isa.assembly import format_instruction
from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import Field
from tilewright.isa.instructions import OPCODE_BITS, Instruction, InstructionSet

Integers = npt.NDArray[np.int64]

_WINDOW_BYTES = 8
_ALIGNMENT = 64


@dataclass(frozen=True)
class DecodedProgram:
    """The instructions of a program.

    Attributes
    ----------
    isa : InstructionSet
    words : array of uint8, shape (count, instruction_bytes)
    """

    isa: InstructionSet
    words: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, isa: InstructionSet, dram: npt.NDArray[np.uint8], offset: int, count: int) -> DecodedProgram:
        """Take and check `count` instructions at byte `offset` of a memory.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory or is not aligned, for an illegal instruction.
        """
        program = cls.unchecked(isa, dram, offset, count)
        program.check()
        return program

    @classmethod
    def unchecked(cls, isa: InstructionSet, dram: npt.NDArray[np.uint8], offset: int, count: int) -> DecodedProgram:
        """Take instructions, legal or not; see `of`."""
        size = count * isa.instruction_bytes
        if dram.dtype != np.uint8 or dram.ndim != 1 or not dram.flags.c_contiguous:
            raise ProgramError("the memory must be a contiguous, one-dimensional array of uint8")
        if count < 0 or offset < 0 or offset + size > len(dram):
            where = f"{count} instructions at byte {offset}"
            raise ProgramError(f"{where} do not lie inside the memory of {len(dram)} bytes")
        if offset % _ALIGNMENT:
            raise ProgramError(f"the program's offset must be a multiple of {_ALIGNMENT}, not {offset}")
        return cls(isa, dram[offset : offset + size].reshape(count, isa.instruction_bytes).copy())

    @classmethod
    def of_bytes(cls, isa: InstructionSet, data: bytes) -> DecodedProgram:
        """Take the whole of a program's bytes; see `of`."""
        size = isa.instruction_bytes
        if len(data) % size:
            raise ProgramError(f"a program must be a multiple of {size} bytes, not {len(data)}")
        return cls.of(isa, np.frombuffer(data, np.uint8), 0, len(data) // size)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def opcodes(self) -> Integers:
        """The opcode of each instruction."""
        return self.words[:, 0].astype(np.int64) & ((1 << OPCODE_BITS) - 1)

    @cached_property
    def positions(self) -> Mapping[str, Integers]:
        """The stream positions of each kind of instruction, by mnemonic."""
        return {i.name: np.flatnonzero(self.opcodes == i.opcode) for i in self.isa.instructions}

    @cached_property
    def operands(self) -> Mapping[str, Mapping[str, Integers]]:
        """The values of each operand of each kind of instruction, in the order of `positions`."""
        return {i.name: _Operands(i, self.words[self.positions[i.name]]) for i in self.isa.instructions}

    def instruction(self, position: int) -> tuple[Instruction, dict[str, int]]:
        """Return one instruction and its operands."""
        return self.isa.decode(self.words[position].tobytes())

    def describe(self, position: int) -> str:
        """Return position and disassembly of an instruction, for messages."""
        instruction, values = self.instruction(position)
        return f"instruction {position} (`{format_instruction(instruction, values)}`)"

    def check(self) -> None:
        """Refuse opcodes and values that the table does not have, and operands that it does not allow together.

        Raises
        ------
        ProgramError
            Naming the first illegal instruction of a kind.
        """
        unknown = np.flatnonzero(~np.isin(self.opcodes, list(self.isa.by_opcode)))
        if len(unknown):
            position = int(unknown[0])
            raise ProgramError(f"instruction {position}: illegal opcode {int(self.opcodes[position])}")
        for instruction in self.isa.instructions:
            self._check_operands(instruction)

    def _check_operands(self, instruction: Instruction) -> None:
        values, positions = self.operands[instruction.name], self.positions[instruction.name]
        if not len(positions):
            return
        for name, f in instruction.operands.items():
            if f.choices is not None:
                wrong = ~np.isin(values[name], list(f.choices.values()))
                self._refuse(positions[wrong], f"has no `{name}` of this number")
            if f.maximum is not None:
                self._refuse(positions[values[name] > f.maximum], f"has `{name}` above {f.maximum}")
            if f.align > 1:
                wrong = values[name] % f.align != 0
                self._refuse(positions[wrong], f"has a `{name}` that is no multiple of {f.align}")
        for group in instruction.exclusive:
            several = np.sum([values[name] != 0 for name in group], axis=0) > 1
            self._refuse(positions[several], f"cannot set {' and '.join(group)} together")
        for constraint in instruction.constraints:
            self._refuse(positions[~np.asarray(constraint.holds(values))], f"is illegal: {constraint.doc}")

    def _refuse(self, positions: Integers, why: str) -> None:
        if len(positions):
            raise ProgramError(f"{self.describe(int(positions[0]))} {why}")


class _Operands(Mapping[str, Integers]):
    """The operands of all instructions of a kind, in table order, each decoded when it is first asked for."""

    def __init__(self, instruction: Instruction, words: npt.NDArray[np.uint8]) -> None:
        self._fields = instruction.operands
        self._padded = np.zeros((len(words), words.shape[1] + _WINDOW_BYTES), np.uint8)
        self._padded[:, : words.shape[1]] = words
        self._shifts: dict[str, int] = {}
        self._decoded: dict[str, Integers] = {}
        shift = OPCODE_BITS
        for name, f in self._fields.items():
            self._shifts[name] = shift
            shift += f.bits

    def __getitem__(self, name: str) -> Integers:
        if name not in self._decoded:
            self._decoded[name] = _unpack(self._fields[name], self._padded, self._shifts[name])
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def _unpack(f: Field, padded: npt.NDArray[np.uint8], shift: int) -> Integers:
    """Read the field at bit `shift` of every instruction; no field is wider than 57 bits."""
    start = shift // 8
    window = np.ascontiguousarray(padded[:, start : start + _WINDOW_BYTES]).view("<u8")[:, 0]
    value = ((window >> np.uint64(shift % 8)) & np.uint64((1 << f.bits) - 1)).astype(np.int64)
    if f.signed and f.bits:
        value -= (value >> (f.bits - 1)) << f.bits
    return value
