"""What a GPU kernel is in the tensor IR.

The body is a nest that means the same when a sequential machine runs it:

- loops of kind `bound:block.x` and `bound:block.y` around everything become the grid;
- loops of kind `bound:thread`, `bound:warp` and `bound:warpgroup` inside become the threads of a block: each is a
  *phase*, and what a phase reads of another thread's must be parted from its writing by a `barrier`;
- buffers in `dram` are arguments, flat; in `shared` flat arrays of a block; in `swizzled` the same, but that the
  machine exchanges the pieces of 16 bytes in every row of 128, as tensor cores and the copy engine like it; in
  `register` `[threads, n]`, of which a thread touches its own row only, at places known when the kernel is compiled;
- a `vectorized` loop is one copy of 4, 8 or 16 bytes, from `dram` to `shared` an asynchronous one, which is complete
  after `async_commit` and `async_wait`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from tilewright.compiler.tir.visit import walk_statements
from tilewright.isa.ir import Allocate, Buffer, Call, Const, Expr, For, Function, Load, Stmt, Store, Var

WARP = 32
WARPGROUP = 128
SHARED_ALIGNMENT = 1024

#: Memory spaces of kernels.
SPACES = frozenset({"dram", "shared", "swizzled", "register"})


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel with what launching it takes.

    Attributes
    ----------
    function : Function
        Its buffers are the arguments, in order.
    constants : frozenset of str
        Buffers that nothing writes while the network runs.
    tensor_maps : tuple of TensorMap
        Arguments behind the buffers, in device memory: boxes that the copy engine fetches.
    min_blocks : int
        Blocks that should fit one multiprocessor: bounds the registers of a thread.
    """

    function: Function
    constants: frozenset[str] = frozenset()
    tensor_maps: tuple[TensorMap, ...] = ()
    min_blocks: int = 1

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Blocks in x and y."""
        extents = {loop.kind: _extent(loop) for loop in _bound_loops(self.function)}
        return extents.get("bound:block.x", 1), extents.get("bound:block.y", 1)

    @cached_property
    def threads(self) -> int:
        """Threads of a block, whole warps."""
        sizes = {"bound:thread": 1, "bound:warp": WARP, "bound:warpgroup": WARPGROUP}
        found = [WARP, *(_extent(loop) * sizes.get(loop.kind, 0) for loop in _bound_loops(self.function))]
        return -(-max(found) // WARP) * WARP

    @cached_property
    def shared_places(self) -> dict[str, int]:
        """Where in a block's shared memory each buffer begins, in bytes."""
        places, end = {}, 0
        for buffer in _shared(self.function):
            places[buffer.name] = end
            end += -(-buffer_bytes(buffer) // SHARED_ALIGNMENT) * SHARED_ALIGNMENT
        return places

    @cached_property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return max((self.shared_places[b.name] + buffer_bytes(b) for b in _shared(self.function)), default=0)


@dataclass(frozen=True)
class TensorMap:
    """Boxes of a matrix of bytes that the copy engine fetches to `swizzled` memory; zeros lie around the matrix.

    Attributes
    ----------
    buffer : str
        The function's buffer that it looks at.
    extents : tuple of int
        Bytes of a row, and rows.
    pitch : int
        Bytes from row to row.
    box : tuple of int
        Extents of what one copy fetches.
    """

    buffer: str
    extents: tuple[int, int]
    pitch: int
    box: tuple[int, int]


def buffer_bytes(buffer: Buffer) -> int:
    """Size of a buffer."""
    return prod(buffer.shape) * max(1, buffer.dtype.bits // 8)


def _bound_loops(function: Function) -> Iterator[For]:
    return (s for s in walk_statements(function) if isinstance(s, For) and s.kind.startswith("bound:"))


def _shared(function: Function) -> list[Buffer]:
    found = (s.buffer for s in walk_statements(function) if isinstance(s, Allocate))
    return [buffer for buffer in found if buffer.space in ("shared", "swizzled")]


def _extent(loop: For) -> int:
    assert isinstance(loop.extent, Const)
    return int(loop.extent.value)


# ---- building ------------------------------------------------------------------------------------------------


def copy(count: int, target: Buffer, place: tuple[Expr, ...], source: Buffer, origin: tuple[Expr, ...]) -> Stmt:
    """Build one copy of `count` neighbouring elements; the last index of each is where they begin."""
    lane = Var("lane_element")
    body = Store(target, (*place[:-1], place[-1] + lane), Load(source, (*origin[:-1], origin[-1] + lane)))
    return For(lane, Const(count), body, "vectorized")


def call(name: str, **operands: int) -> Call:
    """Build a call with constant operands."""
    return Call(name, tuple((key, Const(value)) for key, value in operands.items()))
