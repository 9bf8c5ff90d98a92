"""A GEMM for few rows: no tiles, every warp loads to registers and takes a part of the depth; warps add up at the end.

There is so little work that latency is what counts: all loads of a round are under way at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.gpu.epilogue import finish_run
from tilewright.compiler.targets.gpu.gemm import Gemm, is_inside, padded_channels, residual_place
from tilewright.compiler.targets.gpu.gemm_tiled import warp_products
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Binary, BinaryOp, Buffer, Const, Expr, Function, Load, Stmt, Store, Var, total

_T = Var("t")
_GROUP = 4  # channels that a thread finishes


@dataclass(frozen=True)
class Splitting:
    """How a block divides its work.

    Attributes
    ----------
    warps : int
        Parts of the depth; divides the chunks.
    blocks : tuple of int
        Of 16 rows and 8 columns (an even number), that every warp computes.
    ahead : int
        Chunks loaded at once; divides a warp's chunks.
    """

    warps: int
    blocks: tuple[int, int]
    ahead: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return WARP * self.warps

    @property
    def columns(self) -> int:
        """Of a block."""
        return 8 * self.blocks[1]

    @property
    def run(self) -> int:
        """Neighbouring channels of one thread."""
        return 2 * self.blocks[1]


def direct_gemm(name: str, gemm: Gemm, splitting: Splitting) -> Kernel:
    """Build the kernel; its weights are packed by `gemm_kernels.packed_weight`."""
    constants = frozenset({"w", "bias", "multiplier", "shift", "table"})
    return Kernel(_Builder(name, gemm, splitting).function(), constants)


class _Builder:
    def __init__(self, name: str, gemm: Gemm, splitting: Splitting) -> None:
        self.name, self.gemm, self.splitting = name, gemm, splitting
        self.channels = padded_channels(gemm, splitting.columns)
        self.arguments = {buffer.name: buffer for buffer in gemm.buffers(self.channels, gemm.chunk)}
        high, wide = splitting.blocks
        threads, ahead = splitting.threads, splitting.ahead
        self.registers = high * wide * 4
        self.acc = Buffer("acc", gemm.sum_dtype, (threads, self.registers), "register")
        self.a = Buffer("a", gemm.dtype, (threads, ahead * high * 2 * gemm.piece), "register")
        self.b = Buffer("b", gemm.dtype, (threads, ahead * wide * gemm.piece), "register")
        self.sums = Buffer("sums", gemm.sum_dtype, (splitting.warps * self.registers * WARP,), "shared")
        self.block = Var("block")
        tiles = self.channels // splitting.columns
        self.block_row, self.tile = self.block // tiles, self.block % tiles
        assert gemm.chunks % (splitting.warps * ahead) == 0, "warps and rounds must divide the depth"
        self.rounds = gemm.chunks // (splitting.warps * ahead)

    def function(self) -> Function:
        high, _ = self.splitting.blocks
        body = inside([self.sums, self.acc, self.a, self.b], self._body())
        blocks = -(-self.gemm.rows // (16 * high)) * (self.channels // self.splitting.columns)
        grid = loop(self.block, blocks, body, kind="bound:block.x")
        return Function(self.name, (), tuple(self.arguments.values()), grid)

    def _body(self) -> Stmt:
        place, turn = Var("place"), Var("turn")
        zero = loop(place, self.registers, Store(self.acc, (_T, place), Const(0, self.gemm.sum_dtype)), kind="unrolled")
        high, wide = self.splitting.blocks
        products = warp_products(self.acc, self.a, self.b, self.splitting.warps, high, wide, self.splitting.ahead)
        main = loop(turn, self.rounds, self._fetch(turn), products)
        return sequence(
            self._threads(zero), call("dependents_launch"), call("dependency_wait"), main, self._share(),
            call("barrier"), self._finish(),
        )  # fmt: skip

    def _threads(self, *body: Stmt) -> Stmt:
        return loop(_T, self.splitting.threads, *body, kind="bound:thread")

    def _fetch(self, turn: Expr) -> Stmt:
        high, wide = self.splitting.blocks
        size, depth = self.gemm.piece, self.gemm.chunk
        ahead, block = Var("ahead"), Var("part")
        group, piece = _T % WARP // 4, _T % 4
        chunk = linear((turn * self.splitting.ahead + ahead, self.splitting.warps), (_T // WARP, 1))
        row = linear((self.block_row, 16 * high), (block, 8), (group, 1))
        origin = self.gemm.start(row) + self.gemm.distance(linear((chunk, 4), (piece, 1)), depth)
        x_place = linear((ahead, high * 2 * size), (block, size))
        rows = self.gemm.load(self.a, (_T, x_place), self.arguments["x"], origin)
        column = linear((self.tile * self.gemm.chunks + chunk, self.splitting.columns * depth), (block, 8 * depth))
        origin_w = column + _T % WARP * size
        w_place = linear((ahead, wide * size), (block, size))
        columns = copy(size, self.b, (_T, w_place), self.arguments["w"], (origin_w,))
        both = (loop(block, wide, columns, kind="unrolled"), loop(block, 2 * high, rows, kind="unrolled"))
        return self._threads(loop(ahead, self.splitting.ahead, *both, kind="unrolled"))

    def _share(self) -> Stmt:
        """Lay the sums of all warps side by side, register by register."""
        place = Var("place")
        target = linear((_T // WARP, self.registers * WARP), (place, WARP), (_T % WARP, 1))
        store = Store(self.sums, (target,), Load(self.acc, (_T, place)))
        return self._threads(loop(place, self.registers, store, kind="unrolled"))

    def _finish(self) -> Stmt:
        """Add up the warps' sums and finish them, four channels of a row at a time."""
        high, wide = self.splitting.blocks
        turn, lane = Var("finish_turn"), _T % WARP
        parts = high * wide
        part: Expr = _T // WARP + turn * self.splitting.warps
        block, rest = part // wide, part % wide
        half, pair = rest % 2, rest // 2
        row = linear((self.block_row, 16 * high), (block, 16), (half, 8), (lane // 4, 1))
        channel = linear((self.tile, self.splitting.columns), (lane % 4, self.splitting.run), (pair, _GROUP))
        totals = [
            self._total(linear((block, wide * 4), (pair, 8), (half, 2)) + (n // 2 * 4 + n % 2), lane)
            for n in range(_GROUP)
        ]
        body = finish_run(
            self.gemm.finish, _T, self.splitting.threads, totals, channel, self.gemm.finish.constants(self.channels),
            residual_place(self.gemm, self.arguments, row, channel),
            (self.arguments["y"], self.gemm.y.pixel_of(row) + channel),
        )  # fmt: skip
        is_whole = self.gemm.rows % (16 * high) == 0
        guard = is_inside(self.gemm, self.splitting.columns, row, is_whole, channel)
        if parts % self.splitting.warps:
            exists = part < parts
            guard = exists if guard is None else Binary(BinaryOp.AND, guard, exists)
        turns = -(-parts // self.splitting.warps)
        return self._threads(loop(turn, turns, when(guard, body), kind="unrolled"))

    def _total(self, register: Expr, lane: Expr) -> Expr:
        return total(
            Load(self.sums, (linear((register, WARP), (lane, 1)) + warp * self.registers * WARP,))
            for warp in range(self.splitting.warps)
        )
