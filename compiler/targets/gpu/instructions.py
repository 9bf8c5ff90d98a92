"""The GPU's instructions that kernels call: what they compute, for the interpreter, and the PTX that they are.

An operand is a number or, as `role@buffer`, a place in a buffer. What tensorization needs of them is in `intrinsics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.tir.llvm_scalars import I32, Value

Array = NDArray[Any]


@dataclass(frozen=True)
class Operands:
    """What a call gives to the machine: numbers, and addresses by role."""

    values: Mapping[str, Value | int]
    pointers: Mapping[str, Value]

    def number(self, role: str) -> int:
        """Give a number that is known when the kernel is compiled."""
        value = self.values.get(role, 0)
        assert isinstance(value, int), f"operand `{role}` is not constant"
        return value

    def index(self, role: str) -> Value:
        """Give a number as a value."""
        value = self.values.get(role, 0)
        return I32(value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Meaning:
    """What a call gives to the interpreter: numbers, and the flat buffers with places in them, by role."""

    values: Mapping[str, int]
    arrays: Mapping[str, Array]
    starts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Attributes
    ----------
    name : str
    emit : Callable
        Appends it to a block.
    execute : Callable
        Does it for the whole warp or block; nothing for what only orders.
    """

    name: str
    emit: Callable[[ll.IRBuilder, Operands], None]
    execute: Callable[[Meaning], None] = lambda meaning: None


def interpreted() -> dict[str, Callable[[Mapping[str, int], Mapping[str, Array]], None]]:
    """Return the instructions for `tir.interpreter`."""
    return {name: _interpreted(instruction) for name, instruction in INSTRUCTIONS.items()}


def _interpreted(instruction: Instruction) -> Callable[[Mapping[str, int], Mapping[str, Array]], None]:
    def execute(operands: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        values, found, starts = {}, {}, {}
        for key, value in operands.items():
            role, _, name = key.partition("@")
            if name:
                found[role], starts[role] = arrays[name].reshape(-1), value
            else:
                values[role] = value
        instruction.execute(Meaning(values, found, starts))

    return execute


# ---- order ---------------------------------------------------------------------------------------------------


def _assembly(text: str) -> Callable[[ll.IRBuilder, Operands], None]:
    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        kind = ll.FunctionType(ll.VoidType(), [])
        builder.asm(kind, text.replace("#", str(operands.values.get("count", ""))), "~{memory}", [], True)

    return emit


_ORDER = (
    Instruction("barrier", _assembly("bar.sync 0;")),
    Instruction("async_commit", _assembly("cp.async.commit_group;")),
    Instruction("async_wait", _assembly("cp.async.wait_group #;")),
    Instruction("dependency_wait", _assembly("griddepcontrol.wait;")),
    Instruction("dependents_launch", _assembly("griddepcontrol.launch_dependents;")),
)


# ---- mma.sync ------------------------------------------------------------------------------------------------

MMA_S8 = "mma_m16n8k32_s8"


def _emit_mma(builder: ll.IRBuilder, operands: Operands) -> None:
    d, a, b = (operands.pointers[role] for role in "dab")
    half = operands.number("a_half") // 4
    a_words = [_word(builder, a, place) for place in (0, half, 1, half + 1)]
    b_words = [_word(builder, b, place) for place in (0, 1)]
    sums = [_word(builder, d, place) for place in range(4)]
    result = ll.LiteralStructType([I32] * 4)
    kind = ll.FunctionType(result, [I32] * 10)
    text = "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$0,$1,$2,$3};"
    constraints = "=r,=r,=r,=r,r,r,r,r,r,r,0,1,2,3"
    total = builder.asm(kind, text, constraints, [*a_words, *b_words, *sums], False)
    for place in range(4):
        builder.store(builder.extract_value(total, place), _word_pointer(builder, d, place))


def _word_pointer(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    if not place:
        return pointer
    moved = builder.gep(pointer, [I32(place)], inbounds=True, source_etype=I32)
    moved.type = ll.PointerType(addrspace=pointer.type.addrspace)
    return moved


def _word(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    return builder.load(_word_pointer(builder, pointer, place), typ=I32, align=4)


def _execute_mma(meaning: Meaning) -> None:
    values = meaning.values
    lane, part = np.arange(32), np.arange(8)
    rows = lane[:, None, None] * values["a_lane"] + np.arange(2)[:, None] * values.get("a_half", 0) + part
    a = meaning.arrays["a"][meaning.starts["a"] + rows].astype(np.int32)  # lane, half, byte
    b = meaning.arrays["b"][meaning.starts["b"] + lane[:, None] * values["b_lane"] + part].astype(np.int32)
    left = a.reshape(8, 4, 2, 8).transpose(2, 0, 1, 3).reshape(16, 32)  # half and group are the row
    product = left @ b.reshape(8, 32).T
    place = lane[:, None, None] * values["d_lane"] + np.arange(2)[:, None] * 2 + np.arange(2)
    sums = product.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 2, 2)
    meaning.arrays["d"][meaning.starts["d"] + place] += sums


INSTRUCTIONS: Mapping[str, Instruction] = {
    instruction.name: instruction for instruction in (*_ORDER, Instruction(MMA_S8, _emit_mma, _execute_mma))
}
