"""What an instruction is: its name, the LLVM IR that it becomes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.tir.llvm_scalars import Value

Array = NDArray[Any]


@dataclass(frozen=True)
class Operands:
    """What a call gives to the machine: numbers, and addresses by role."""

    numbers: Mapping[str, int]
    pointers: Mapping[str, Value]


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Attributes
    ----------
    name : str
    emit : Callable
        Appends it to a block.
    execute : Callable
        Does it: numbers, then by role arrays that begin at the place.
    """

    name: str
    emit: Callable[[ll.IRBuilder, Level, Operands], None]
    execute: Callable[[Mapping[str, int], Mapping[str, Array]], None]


def nothing(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    """Do what means nothing to the interpreter, in which sums are always in memory."""
