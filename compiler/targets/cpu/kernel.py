"""What a CPU kernel is in the tensor IR.

The body is a nest that means the same when a sequential machine runs it:

- the outermost loop, of kind `parallel`, is over tasks that threads share;
- buffers in `dram` are arguments, flat; in `register` small flat arrays, touched at constant places only;
- a loop of kind `unrolled` is written out; one of kind `vectorized`, of a constant extent, becomes vectors of that many
  elements: an address that moves by one from element to element is one access, others are one for each element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tilewright.compiler.targets.kernels.nests import loop, sequence
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, For, Function, Stmt, Var

#: Memory spaces of kernels.
SPACES = frozenset({"dram", "register"})

TASK = Var("task")


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel.

    Attributes
    ----------
    function : Function
        Its buffers are the arguments, in order.
    tasks : int
    """

    function: Function
    tasks: int

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name


class Source(Protocol):
    """What kernels are built from: equal sources give equal kernels."""

    def build(self, name: str) -> Kernel:
        """Build the kernel."""


def tasks(
    name: str, count: int, buffers: Sequence[Buffer], *body: Stmt, before: Sequence[Stmt] = (),
    after: Sequence[Stmt] = (),
) -> Kernel:  # fmt: skip
    """Build a kernel whose body does the task of number `TASK`; `before` and `after` all tasks that a thread does."""
    nest = For(TASK, Const(count), sequence(*body), "parallel")
    return Kernel(Function(name, (), tuple(buffers), sequence(*before, nest, *after)), count)


def lanes(var: Var, count: int, *body: Stmt) -> Stmt:
    """Build a loop whose elements are computed together."""
    return loop(var, count, *body, kind="vectorized")


def call(name: str, places: dict[str, tuple[Buffer, Expr]], **numbers: int) -> Call:
    """Build a call of an instruction on places in buffers."""
    operands = [(f"{role}@{buffer.name}", place) for role, (buffer, place) in places.items()]
    return Call(name, (*operands, *((key, Const(value, DType.I64)) for key, value in numbers.items())))
