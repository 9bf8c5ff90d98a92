"""A GEMM for many rows: tiles in shared memory, filled asynchronously some steps ahead, multiplied by `mma`."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.gpu.epilogue import finish_run
from tilewright.compiler.targets.gpu.gemm import PIECE_BYTES, Gemm, is_inside, padded_channels, residual_place
from tilewright.compiler.targets.gpu.intrinsics import mma_nest, tensorized
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Const, Expr, Function, Load, Stmt, Store, Var

_T, _W = Var("t"), Var("warp")
_RUN = 16


@dataclass(frozen=True)
class Tiling:
    """How a block divides its work.

    Attributes
    ----------
    warps : tuple of int
        Along rows and columns.
    blocks : tuple of int
        Of 16 rows and 8 columns, that one warp computes.
    chunks : int
        Chunks of depth of one step.
    stages : int
        Steps that are in shared memory at once.
    """

    warps: tuple[int, int] = (2, 2)
    blocks: tuple[int, int] = (4, 8)
    chunks: int = 1
    stages: int = 4

    @property
    def threads(self) -> int:
        """Of a block."""
        return WARP * self.warps[0] * self.warps[1]

    @property
    def rows(self) -> int:
        """Of a block's tile."""
        return 16 * self.warps[0] * self.blocks[0]

    @property
    def columns(self) -> int:
        """Of a block's tile."""
        return 8 * self.warps[1] * self.blocks[1]

    @property
    def run(self) -> int:
        """Neighbouring channels of one thread."""
        return 2 * self.blocks[1]


def tiled_gemm(name: str, gemm: Gemm, tiling: Tiling, min_blocks: int = 1) -> Kernel:
    """Build the kernel; its weights are packed by `gemm_kernels.packed_weight`."""
    return Kernel(
        _Builder(name, gemm, tiling).function(),
        frozenset({"w", "bias", "multiplier", "shift", "table"}),
        (),
        min_blocks,
    )


class _Builder:
    def __init__(self, name: str, gemm: Gemm, tiling: Tiling) -> None:
        self.name, self.gemm, self.tiling = name, gemm, tiling
        self.channels = padded_channels(gemm, tiling.columns)
        self.arguments = {buffer.name: buffer for buffer in gemm.buffers(self.channels, gemm.chunk)}
        threads, (high, wide) = tiling.threads, tiling.blocks
        stage = tiling.stages * tiling.chunks * gemm.chunk
        self.x_tile = Buffer("x_tile", gemm.dtype, (stage * tiling.rows,), "shared")
        self.w_tile = Buffer("w_tile", gemm.dtype, (stage * tiling.columns,), "shared")
        self.acc = Buffer("acc", gemm.sum_dtype, (threads, high * wide * 4), "register")
        self.a = Buffer("a", gemm.dtype, (threads, high * 2 * gemm.piece), "register")
        self.b = Buffer("b", gemm.dtype, (threads, wide * gemm.piece), "register")
        self.block = Var("block")
        self.tiles = self.channels // tiling.columns
        self.steps = -(-gemm.chunks // tiling.chunks)
        assert self.steps * tiling.chunks == gemm.chunks, "depth is no whole number of steps"
        self.first_row = (self.block // self.tiles) * tiling.rows if self.tiles > 1 else self.block * tiling.rows
        self.tile = self.block % self.tiles if self.tiles > 1 else Const(0)

    def function(self) -> Function:
        blocks = -(-self.gemm.rows // self.tiling.rows) * self.tiles
        body = inside([self.x_tile, self.w_tile, self.acc, self.a, self.b], self._body())
        grid = loop(self.block, blocks, body, kind="bound:block.x")
        return Function(self.name, (), tuple(self.arguments.values()), grid)

    def _body(self) -> Stmt:
        ahead, step = self.tiling.stages - 1, Var("step")
        prologue: list[Stmt] = []
        for stage in range(ahead):
            if stage < self.steps:
                prologue.append(self._fill(Const(stage), Const(stage)))
            prologue.append(call("async_commit"))
        following = step + ahead
        main = loop(
            step, self.steps,
            call("async_wait", count=ahead - 1), call("barrier"),
            when(following < self.steps, self._fill(following, following % self.tiling.stages)), call("async_commit"),
            self._multiply(step % self.tiling.stages),
        )  # fmt: skip
        return sequence(
            self._zero(), call("dependency_wait"), *prologue, main, call("dependents_launch"), self._finish()
        )

    def _threads(self, *body: Stmt) -> Stmt:
        return loop(_T, self.tiling.threads, *body, kind="bound:thread")

    def _zero(self) -> Stmt:
        place = Var("place")
        store = Store(self.acc, (_T, place), Const(0, self.gemm.sum_dtype))
        return self._threads(loop(place, self.acc.shape[1], store, kind="unrolled"))

    def _fill(self, step: Expr, stage: Expr) -> Stmt:
        """Copy a step's chunks of rows and of weights to a stage."""
        tiling, part, chunk = self.tiling, Var("part"), Var("chunk")
        size, depth = self.gemm.piece, self.gemm.chunk
        per_chunk = tiling.rows * 4 // tiling.threads
        assert per_chunk * tiling.threads == tiling.rows * 4, "threads do not divide the rows"
        row, piece = part * (tiling.threads // 4) + _T // 4, _T % 4
        place = linear((stage * tiling.chunks + chunk, tiling.rows * depth), (row, depth), (piece, size))
        origin = self.gemm.start(self.first_row + row) + self.gemm.distance(
            linear((step * tiling.chunks + chunk, 4), (piece, 1)), depth
        )
        rows = self.gemm.load(self.x_tile, (place,), self.arguments["x"], origin)
        both = loop(chunk, tiling.chunks, loop(part, per_chunk, rows, kind="unrolled"), kind="unrolled")
        return self._threads(both, self._fill_weights(step, stage))

    def _fill_weights(self, step: Expr, stage: Expr) -> Stmt:
        tiling, part, run = self.tiling, Var("part"), self.gemm.piece
        size = tiling.columns * self.gemm.chunk * tiling.chunks
        piece = part * tiling.threads + _T
        origin = linear((self.tile * self.steps + step, size), (piece, run))
        body = copy(run, self.w_tile, (linear((stage, size), (piece, run)),), self.arguments["w"], (origin,))
        count = size // run
        if count % tiling.threads:
            body = when(piece < count, body)
        return loop(part, -(-count // tiling.threads), body, kind="unrolled")

    def _multiply(self, stage: Expr) -> Stmt:
        chunk = Var("chunk")
        return loop(chunk, self.tiling.chunks, self._fetch(stage, chunk), self._mma(), kind="unrolled")

    def _fetch(self, stage: Expr, chunk: Expr) -> Stmt:
        """Copy what a warp multiplies to registers: of its rows and columns, 16 bytes a thread."""
        tiling, block = self.tiling, Var("part")
        size, depth = self.gemm.piece, self.gemm.chunk
        group, piece = _T % WARP // 4, _T % 4
        high, wide = tiling.blocks
        warp = _T // WARP
        row = linear((warp % tiling.warps[0], 16 * high), (block, 8), (group, 1))
        column = linear((warp // tiling.warps[0], 8 * wide), (block, 8), (group, 1))
        slot = stage * tiling.chunks + chunk
        x_place = linear((slot, tiling.rows * depth), (row, depth), (piece, size))
        w_place = linear((slot, tiling.columns * depth), (column, depth), (piece, size))
        return self._threads(
            loop(block, 2 * high, copy(size, self.a, (_T, block * size), self.x_tile, (x_place,)), kind="unrolled"),
            loop(block, wide, copy(size, self.b, (_T, block * size), self.w_tile, (w_place,)), kind="unrolled"),
        )

    def _mma(self) -> Stmt:
        high, wide = self.tiling.blocks
        return warp_products(self.acc, self.a, self.b, self.tiling.threads // WARP, high, wide)

    def _finish(self) -> Stmt:
        tiling, gemm = self.tiling, self.gemm
        high, wide = tiling.blocks
        warp, group, piece = _T // WARP, _T % WARP // 4, _T % 4
        half, part = Var("half"), Var("finish_part")
        run = min(tiling.run, _RUN)
        row = self.first_row + linear((warp % tiling.warps[0], 16 * high), (half, 8), (group, 1))
        channel = linear(
            (self.tile, tiling.columns), (warp // tiling.warps[0], 8 * wide), (piece, tiling.run), (part, run)
        )
        totals = [
            Load(self.acc, (_T, linear((half // 2, wide * 4), (part, run * 2), (half % 2, 2)) + (n // 2 * 4 + n % 2)))
            for n in range(run)
        ]
        output = self.arguments["y"], gemm.y.pixel_of(row) + channel
        body = finish_run(
            gemm.finish, _T, tiling.threads, totals, channel, gemm.finish.constants(self.channels),
            residual_place(gemm, self.arguments, row, channel), output,
        )  # fmt: skip
        body = when(is_inside(gemm, tiling.columns, row, gemm.rows % tiling.rows == 0, channel), body)
        return self._threads(
            loop(half, 2 * high, loop(part, tiling.run // run, body, kind="unrolled"), kind="unrolled")
        )


def warp_products(acc: Buffer, a: Buffer, b: Buffer, warps: int, high: int, wide: int, depth: int = 1) -> Stmt:
    """Build the products of all blocks of all warps, `depth` chunks deep, by instructions."""
    i, j, s, u = (Var(name) for name in ("block_row", "block_column", "mma_step", "mma_chunk"))
    size = PIECE_BYTES * 8 // a.dtype.bits
    place = (
        linear((i, wide * 4), (j, 4)),
        linear((u, high * 2 * size), (i, 2 * size), (s, size // 2)),
        linear((u, wide * size), (j, size), (s, size // 2)),
    )
    around = (_W.name, u.name, s.name, i.name, j.name)
    body: Stmt = tensorized(mma_nest(acc, a, b, _W, place, size), around, {"d": acc.name, "a": a.name, "b": b.name})
    for var, extent in ((j, wide), (i, high), (s, 2), (u, depth)):
        body = loop(var, extent, body, kind="unrolled")
    return loop(_W, warps, body, kind="bound:warp")
