"""A GEMM in fp32, without tensor cores: tiles in shared memory, and a block of sums in the registers of each thread.

A block of threads steps through the depth, 16 elements at a time for each of its `parts`; these are groups of threads
that have the same tile, of the depth every one its own share, and add up at the end. A thread's rows are so many
threads apart that neighbours read neighbouring rows of a tile, whose pitch keeps them in different banks; its channels
lie side by side, since weights are packed in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.epilogue import finish_run
from tilewright.compiler.targets.gpu.gemm import Gemm, is_inside, padded_channels, residual_place
from tilewright.compiler.targets.gpu.kernel import Kernel, call, copy
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T = Var("t")
_SHARE = 16  # elements of depth of one part in a step
_QUAD = 4  # elements of one load
_GAP = 4  # elements between the rows of a tile
_LARGE = 32  # sums of a thread, so many times 16 of whose products are written out


@dataclass(frozen=True)
class Blocking:
    """How a block divides its work.

    Attributes
    ----------
    threads : tuple of int
        Along rows and columns of the tile.
    sums : tuple of int
        Rows and columns (4, 8 or 16) of one thread.
    parts : int
        Shares of the depth.
    stages : int
        Steps that are in shared memory at once.
    """

    threads: tuple[int, int]
    sums: tuple[int, int]
    parts: int = 1
    stages: int = 3

    @property
    def group(self) -> int:
        """Threads of a part."""
        return self.threads[0] * self.threads[1]

    @property
    def rows(self) -> int:
        """Of a block's tile."""
        return self.threads[0] * self.sums[0]

    @property
    def columns(self) -> int:
        """Of a block's tile."""
        return self.threads[1] * self.sums[1]

    @property
    def step(self) -> int:
        """Elements of depth of a step."""
        return _SHARE * self.parts

    @property
    def order(self) -> NDArray[np.int64]:
        """Channel of each column of a tile: thread `t` has columns `t`, `t + threads` and so on."""
        column = np.arange(self.columns)
        return np.asarray(column % self.threads[1] * self.sums[1] + column // self.threads[1])

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        tiles = self.stages * (self.rows + self.columns) * (self.step + _GAP)
        return 4 * (tiles + (self.parts * self.rows * self.columns if self.parts > 1 else 0)) + 3 * 1024


def blocked_gemm(name: str, gemm: Gemm, blocking: Blocking) -> Kernel:
    """Build the kernel; its weights are packed by `gemm_kernels.packed_weight`."""
    return Kernel(_Builder(name, gemm, blocking).function(), frozenset({"w", "bias"}))


class _Builder:
    def __init__(self, name: str, gemm: Gemm, blocking: Blocking) -> None:
        self.name, self.gemm, self.blocking = name, gemm, blocking
        self.channels = padded_channels(gemm, blocking.columns)
        self.arguments = {buffer.name: buffer for buffer in gemm.buffers(self.channels, blocking.step)}
        self.count = blocking.group * blocking.parts
        self.pitch = blocking.step + _GAP
        high, wide = blocking.sums
        self.x_tile = self._shared("x_tile", blocking.stages * blocking.rows * self.pitch)
        self.w_tile = self._shared("w_tile", blocking.stages * blocking.columns * self.pitch)
        self.shares = self._shared("shares", self.count * high * wide)
        self.acc, self.a, self.b = (
            Buffer(what, DType.F32, (self.count, size), "register")
            for what, size in (("acc", high * wide), ("a", high * _QUAD), ("b", _QUAD))
        )
        block = Var("block")
        tiles = self.channels // blocking.columns
        self.block, self.tiles = block, tiles
        self.first_row = (block // tiles) * blocking.rows if tiles > 1 else block * blocking.rows
        self.tile = block % tiles if tiles > 1 else Const(0)
        self.steps = -(-gemm.depth // blocking.step)
        inner = _T % blocking.group if blocking.parts > 1 else _T
        self.part = _T // blocking.group
        self.down, self.across = inner // blocking.threads[1], inner % blocking.threads[1]

    def _shared(self, name: str, size: int) -> Buffer:
        return Buffer(name, DType.F32, (size,), "shared")

    def function(self) -> Function:
        local = [self.x_tile, self.w_tile, self.acc, self.a, self.b]
        if self.blocking.parts > 1:
            local.append(self.shares)
        blocks = -(-self.gemm.rows // self.blocking.rows) * self.tiles
        grid = loop(self.block, blocks, inside(local, self._body()), kind="bound:block.x")
        return Function(self.name, (), tuple(self.arguments.values()), grid)

    def _body(self) -> Stmt:
        ahead, step, stages = self.blocking.stages - 1, Var("step"), self.blocking.stages
        place = Var("place")
        zero = loop(place, self.acc.shape[1], Store(self.acc, (_T, place), Const(0, DType.F32)), kind="unrolled")
        before: list[Stmt] = []
        for stage in range(ahead):
            if stage < self.steps:
                before.append(self._fill(Const(stage), Const(stage)))
            before.append(call("async_commit"))
        following = step + ahead
        main = loop(
            step, self.steps,
            call("async_wait", count=ahead - 1), call("barrier"),
            when(following < self.steps, self._fill(following, following % stages)), call("async_commit"),
            self._multiply(step % stages),
        )  # fmt: skip
        finish = self._finish_own() if self.blocking.parts == 1 else self._finish_shares()
        return sequence(self._threads(zero), call("dependency_wait"), *before, main, call("dependents_launch"), finish)

    def _threads(self, *body: Stmt) -> Stmt:
        return loop(_T, self.count, *body, kind="bound:thread")

    def _fill(self, step: Expr, stage: Expr) -> Stmt:
        """Copy a step's depth of rows and of weights to a stage."""
        return self._threads(self._fill_rows(step, stage), self._fill_weights(step, stage))

    def _fill_rows(self, step: Expr, stage: Expr) -> Stmt:
        pieces = self.blocking.step // _QUAD

        def piece(number: Expr) -> Stmt:
            row, piece = number // pieces, number % pieces
            origin = self.gemm.start(self.first_row + row) + self.gemm.distance(
                linear((step, pieces)) + piece, self.blocking.step
            )
            place = linear((stage, self.blocking.rows * self.pitch), (row, self.pitch), (piece, _QUAD))
            return self.gemm.load(self.x_tile, (place,), self.arguments["x"], origin)

        return self._share_out(self.blocking.rows * pieces, piece, Var("row_part"))

    def _fill_weights(self, step: Expr, stage: Expr) -> Stmt:
        columns, pieces = self.blocking.columns, self.blocking.step // _QUAD

        def piece(number: Expr) -> Stmt:
            column, piece = number // pieces, number % pieces
            origin = linear((self.tile * self.steps + step, columns * self.blocking.step), (number, _QUAD))
            place = linear((stage, columns * self.pitch), (column, self.pitch), (piece, _QUAD))
            return copy(_QUAD, self.w_tile, (place,), self.arguments["w"], (origin,))

        return self._share_out(columns * pieces, piece, Var("column_part"))

    def _share_out(self, count: int, piece: Callable[[Expr], Stmt], part: Var) -> Stmt:
        """Build pieces of work, which the threads take in turns."""
        number = part * self.count + _T
        body = piece(number)
        if count % self.count:
            body = when(number < count, body)
        return loop(part, -(-count // self.count), body, kind="unrolled")

    def _multiply(self, stage: Expr) -> Stmt:
        """Multiply what a part has of a step, 4 elements of depth at a time."""
        blocking, half, inner = self.blocking, Var("half"), Var("quad")
        high, wide = blocking.sums
        i, j, k = Var("i"), Var("j"), Var("k")
        split = min(_SHARE // _QUAD, -(-high * wide // _LARGE))
        depth = linear((self.part, _SHARE), (half, _SHARE // split), (inner, _QUAD))
        x_start = linear((stage, blocking.rows * self.pitch), (self.down, self.pitch)) + depth
        w_start = linear((stage, blocking.columns * self.pitch), (self.across, self.pitch)) + depth
        rows = copy(
            _QUAD, self.a, (_T, i * _QUAD), self.x_tile, (x_start + linear((i, blocking.threads[0] * self.pitch)),)
        )
        column = copy(
            _QUAD, self.b, (_T, Const(0)), self.w_tile, (w_start + linear((j, blocking.threads[1] * self.pitch)),)
        )
        own = (_T, i * wide + j)
        product = Load(self.a, (_T, i * _QUAD + k)) * Load(self.b, (_T, k))
        add = Store(self.acc, own, Load(self.acc, own) + product)
        products = loop(
            k, _QUAD, loop(i, high, add, kind="unrolled"), kind="unrolled"
        )  # neighbours add to different sums
        quads = loop(
            inner, _SHARE // _QUAD // split,
            loop(i, high, rows, kind="unrolled"), loop(j, wide, column, products, kind="unrolled"),
            kind="unrolled",
        )  # fmt: skip
        return self._threads(loop(half, split, quads, kind="serial" if split > 1 else "unrolled"))

    def _finish_own(self) -> Stmt:
        """Finish each thread's sums."""
        i, wide = Var("finish_row"), self.blocking.sums[1]
        totals: list[Expr] = [Load(self.acc, (_T, i * wide + n)) for n in range(wide)]
        body = self._finished(linear((i, self.blocking.threads[0])) + self.down, self.across, totals)
        return self._threads(loop(i, self.blocking.sums[0], body, kind="unrolled"))

    def _finish_shares(self) -> Stmt:
        """Lay the sums of all parts side by side, then add them up and finish them, a thread's row at a time."""
        blocking, place = self.blocking, Var("place")
        high, wide = blocking.sums
        size, group = high * wide, blocking.group
        target = linear((self.part, size * group), (place, group), (_T % group, 1))
        share = loop(place, size, Store(self.shares, (target,), Load(self.acc, (_T, place))), kind="unrolled")

        def row(number: Expr) -> Stmt:
            i, thread = number // group, number % group
            totals = [
                total(
                    Load(self.shares, (linear((i, wide * group)) + thread + (part * size + n) * group,))
                    for part in range(blocking.parts)
                )
                for n in range(wide)
            ]
            down, across = thread // blocking.threads[1], thread % blocking.threads[1]
            return self._finished(linear((i, blocking.threads[0])) + down, across, totals)

        return sequence(
            self._threads(share),
            call("barrier"),
            self._threads(self._share_out(high * group, row, Var("finish_turn"))),
        )

    def _finished(self, tile_row: Expr, across: Expr, totals: list[Expr]) -> Stmt:
        gemm, blocking = self.gemm, self.blocking
        row = self.first_row + tile_row
        channel = linear((self.tile, blocking.columns), (across, blocking.sums[1]))
        body = finish_run(
            gemm.finish, _T, self.count, totals, channel, gemm.finish.constants(self.channels),
            residual_place(gemm, self.arguments, row, channel),
            (self.arguments["y"], gemm.y.pixel_of(row) + channel),
        )  # fmt: skip
        return when(is_inside(gemm, blocking.columns, row, gemm.rows % blocking.rows == 0, channel), body)
