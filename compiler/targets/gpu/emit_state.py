"""What emitting one kernel keeps track of."""

from __future__ import annotations

from dataclasses import dataclass, field

from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.dialects import Dialect
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.tir.llvm_scalars import Value
from tilewright.isa.ir import Buffer


@dataclass(frozen=True)
class Place:
    """Where a buffer lies: a pointer, and in registers its elements in the rows of one thread."""

    buffer: Buffer
    pointer: Value

    @property
    def is_register(self) -> bool:
        """Whether it is registers."""
        return self.buffer.space == "register"


@dataclass
class Emitter:
    """The state of emitting one kernel."""

    kernel: Kernel
    dialect: Dialect
    builder: ll.IRBuilder
    entry: ll.IRBuilder
    variables: dict[str, Value | int] = field(default_factory=dict)
    thread_variables: set[str] = field(default_factory=set)
    places: dict[str, Place] = field(default_factory=dict)
    maps: dict[str, Value] = field(default_factory=dict)
    known: dict[int, Value] = field(default_factory=dict)
    shared: Value = None
    words: frozenset[str] = frozenset()


def opaque(pointer: Value, space: int = 0) -> Value:
    """Forget what llvmlite thinks that a pointer points to: copies are as wide as they can be."""
    pointer.type = ll.PointerType(addrspace=space)
    return pointer
