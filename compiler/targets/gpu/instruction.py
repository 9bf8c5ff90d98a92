"""What an instruction is: how a call of it gets its operands, what it computes, and the machine code that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.tir.llvm_scalars import I32, Value

Array = NDArray[Any]


def assembly(
    builder: ll.IRBuilder, kind: Any, text: str, constraints: str, inputs: list[Value], has_effect: bool = True
) -> Value:
    """Append assembly that the threads of a warp run together: no copy of it may end up in one branch of a test."""
    found = builder.asm(kind, text, constraints, inputs, has_effect)
    found.attributes.add("convergent")
    return found


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


def word_pointer(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    """Give the address of a register of 32 bits."""
    if not place:
        return pointer
    moved = builder.gep(pointer, [I32(place)], inbounds=True, source_etype=I32)
    moved.type = ll.PointerType(addrspace=pointer.type.addrspace)
    return moved


def word(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    """Read a register of 32 bits."""
    return builder.load(word_pointer(builder, pointer, place), typ=I32, align=4)
