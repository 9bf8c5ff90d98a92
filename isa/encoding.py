"""Encodes many instructions at once: arrays of operands, packed field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.instructions import OPCODE_BITS, Instruction, InstructionSet

Operands = Mapping[str, int]
_Words = NDArray[np.uint64]
_Numbers = NDArray[np.int64]

_WORD_BITS = 64


def encode_program(isa: InstructionSet, program: Sequence[tuple[str, Operands]]) -> bytes:
    """Return the bytes of instructions, by name and operands, one after the other; `InstructionSet.encode` of each.

    Raises
    ------
    ProgramError
        As `InstructionSet.encode`, for the first wrong instruction of some name.
    """
    words = np.zeros((len(program), isa.instruction_bytes * 8 // _WORD_BITS), "<u8")
    places: dict[str, list[int]] = {}
    for place, (name, _) in enumerate(program):
        places.setdefault(name, []).append(place)
    for name, chosen in places.items():
        operands = [program[place][1] for place in chosen]
        encoded = _encoded(isa.by_name[name], operands, words.shape[1]) if name in isa.by_name else None
        if encoded is None:
            encoded = np.stack([_one(isa, name, values) for values in operands])
        words[chosen] = encoded
    return words.tobytes()


def _one(isa: InstructionSet, name: str, values: Operands) -> _Words:
    return np.frombuffer(isa.encode(name, values), "<u8")


def _encoded(instruction: Instruction, operands: Sequence[Operands], size: int) -> _Words | None:
    """Return instructions of one name as words; None where one of them is wrong."""
    named = set().union(*operands)
    if not named <= instruction.operands.keys():
        return None
    nothing = np.zeros(len(operands), np.int64)
    columns = {
        name: np.array([values.get(name, 0) for values in operands], np.int64) if name in named else nothing
        for name in instruction.operands
    }
    if any(np.sum([columns[name] != 0 for name in group], axis=0).max() > 1 for group in instruction.exclusive):
        return None
    wrapped = {name: _normalised(field, columns[name]) for name, field in instruction.operands.items()}
    is_right = all(_is_right(field, columns[name], wrapped[name]) for name, field in instruction.operands.items())
    if not is_right or not all(np.all(constraint.holds(wrapped)) for constraint in instruction.constraints):
        return None
    words = np.zeros((len(operands), size), np.uint64)
    words[:, 0] = int(instruction.opcode)
    offset = OPCODE_BITS
    for name, field in instruction.operands.items():
        if name in named:
            _pack(words, wrapped[name], field.bits, offset)
        offset += field.bits
    return words


def _normalised(field: Field, values: _Numbers) -> _Numbers:
    """Wrap strides; see `Field.normalise`."""
    return values % (1 << field.bits) if field.kind in (FieldKind.STRIDE, FieldKind.DRAM_STRIDE) else values


def _is_right(field: Field, values: _Numbers, wrapped: _Numbers) -> bool:
    """Tell whether `Field.check` lets all values pass."""
    if field.choices is not None and not np.isin(values, list(field.choices.values())).all():
        return False
    allowed = field.values
    is_aligned = field.align == 1 or not (values % field.align).any()
    return is_aligned and allowed.start <= int(wrapped.min()) and int(wrapped.max()) < allowed.stop


def _pack(words: _Words, values: _Numbers, bits: int, offset: int) -> None:
    """Put a field of at most 63 bits into the words, from bit `offset` on."""
    packed = (values & ((1 << bits) - 1)).astype(np.uint64)
    place, shift = divmod(offset, _WORD_BITS)
    words[:, place] |= packed << np.uint64(shift)
    if shift + bits > _WORD_BITS:
        words[:, place + 1] |= packed >> np.uint64(_WORD_BITS - shift)
