"""Matrix products and convolutions as one problem: every output pixel is a row, every pixel's window a row of depth.

With the border in memory, what a row multiplies lies at `start(row) + distance(k)`: an implicit GEMM without
a lowered matrix. Depth is counted in elements, in pieces of 16 bytes and chunks of 64; what is beyond its end has
weights of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.epilogue import Finishing
from tilewright.compiler.targets.gpu.kernel import copy
from tilewright.compiler.targets.kernels.layout import NARROW, split_index
from tilewright.compiler.targets.kernels.nests import sequence
from tilewright.compiler.targets.kernels.windows import Windows
from tilewright.isa.ir import Buffer, DType, Expr, Stmt

CHUNK_BYTES = 64
PIECE_BYTES = 16

#: What products of a type are summed in.
SUMS = {DType.I8: DType.I32, DType.F16: DType.F32, DType.F32: DType.F32}
ARRAYS: dict[DType, type[np.generic]] = {DType.I8: np.int8, DType.F16: np.float16, DType.F32: np.float32}


@dataclass(frozen=True)
class Gemm(Windows[Finishing]):
    """A convolution with one group, or a matrix product, which is one of 1x1."""

    @property
    def dtype(self) -> DType:
        """Of what is multiplied."""
        return self.x.dtype

    @property
    def sum_dtype(self) -> DType:
        """Of sums."""
        return SUMS[self.dtype]

    @property
    def piece(self) -> int:
        """Elements of a piece."""
        return PIECE_BYTES * 8 // self.dtype.bits

    @property
    def chunk(self) -> int:
        """Elements of a chunk."""
        return CHUNK_BYTES * 8 // self.dtype.bits

    @property
    def is_narrow(self) -> bool:
        """Whether a row of the kernel is one run of elements."""
        return self.x.pitch == NARROW

    @property
    def rows(self) -> int:
        """Output pixels."""
        return self.y.pixels

    @property
    def run(self) -> int:
        """Elements that lie side by side."""
        return -(-self.kernel[1] * NARROW // self.piece) * self.piece if self.is_narrow else self.x.pitch

    @property
    def depth(self) -> int:
        """Elements that a row multiplies, whole pieces."""
        return self.kernel[0] * self.run * (1 if self.is_narrow else self.kernel[1])

    @property
    def chunks(self) -> int:
        """Chunks of depth."""
        return -(-self.depth // self.chunk)

    @property
    def load_elements(self) -> int:
        """Elements of one load: whatever rows' starts are multiples of."""
        step = NARROW * self.strides[1]
        return min(self.piece, step & -step) if self.is_narrow else self.piece

    @property
    def macs(self) -> int:
        """Multiply-accumulates asked for."""
        return self.rows * self.y.channels * self.kernel[0] * self.kernel[1] * self.x.channels

    def start(self, row: Expr) -> Expr:
        """Build where a row's window begins; rows behind the last are the last."""
        number = row.minimum(self.rows - 1)
        is_plain = self.x.is_dense and self.strides == (1, 1) and self.x.pixels == self.rows and not any(self.pads)
        if is_plain:
            return number * self.x.pitch
        n, h, w = split_index(number, (self.y.batch, self.y.height, self.y.width))
        return self.origin(n, h, w)

    def distance(self, piece: Expr, chunk: int) -> Expr:
        """Build how far from the start a piece of depth lies, of those in whole chunks of some elements."""
        if self.depth % chunk:
            piece = piece.minimum(self.depth // self.piece - 1)
        per_run = self.run // self.piece
        line = self.dilations[0] * self.x.row_pixels * self.x.pitch
        if self.kernel == (1, 1):
            return piece * self.piece
        inside = (piece % per_run) * self.piece
        if self.is_narrow:
            return (piece // per_run) * line + inside
        tap = piece // per_run
        across = (tap % self.kernel[1]) * (self.dilations[1] * self.x.pitch)
        return (tap // self.kernel[1]) * line + across + inside

    def load(self, target: Buffer, place: tuple[Expr, ...], x: Buffer, origin: Expr) -> Stmt:
        """Build the copy of a piece."""
        step = self.load_elements
        parts = range(0, self.piece, step)
        return sequence(*(copy(step, target, (*place[:-1], place[-1] + part), x, (origin + part,)) for part in parts))

    def buffers(self, channels: int, chunk: int) -> list[Buffer]:
        """Declare the arguments: input, weights, output, residual and constants."""
        weights = Buffer("w", self.dtype, (channels * -(-self.depth // chunk) * chunk,), "dram")
        found = [self.x.buffer("x"), weights, self.y.buffer("y")]
        if self.residual is not None:
            found.append(self.residual.buffer("residual"))
        return [*found, *self.finish.constants(channels).values()]

    def pack(self, weight: NDArray[np.generic], order: NDArray[np.int64], chunk: int) -> NDArray[np.generic]:
        """Order weights `[O, C, KH, KW]` as kernels read them: `[tile, chunk, column of the tile, element]`.

        Parameters
        ----------
        weight : array
        order : array
            Channel of each column of a tile.
        chunk : int
            Elements of depth that lie together.
        """
        outputs, inputs, height, width = weight.shape
        columns = order.size
        kind = ARRAYS[self.dtype]
        deep = np.zeros(
            (outputs, height, self.run if self.is_narrow else width, NARROW if self.is_narrow else self.run), kind
        )
        if self.is_narrow:
            deep = deep[:, :, : self.run // NARROW]
        deep[:, :, :width, :inputs] = weight.transpose(0, 2, 3, 1)
        chunks = -(-self.depth // chunk)
        flat = np.zeros((-(-outputs // columns) * columns, chunks * chunk), kind)
        flat[:outputs, : self.depth] = deep.reshape(outputs, -1)
        tiles = flat.reshape(-1, columns, chunks, chunk)[:, order]
        return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(-1)


def column_order(run: int, columns: int, unit: int) -> NDArray[np.int64]:
    """Give the channel of each column of a tile, so that a thread's sums are those of neighbouring channels.

    A thread has two neighbouring columns of every 8: member `m` of a group has columns `2 m` and `2 m + 1`. Of its
    `run` channels, `unit` at a time are neighbours, and beside them are those of the next member.
    """
    width = 4 * run
    column = np.arange(columns)
    warp, inner = column // width * width, column % width
    block, place = inner // 8, inner % 8
    own = block * 2 + place % 2
    return np.asarray(warp + own // unit * (4 * unit) + place // 2 * unit + own % unit)


def padded_channels(gemm: Gemm, columns: int) -> int:
    """Give the channels of whole tiles."""
    return -(-gemm.y.channels // columns) * columns


def residual_place(gemm: Gemm, buffers: dict[str, Buffer], row: Expr, channel: Expr) -> tuple[Buffer, Expr] | None:
    """Build where the residual of a row's channel lies."""
    if gemm.residual is None:
        return None
    return buffers["residual"], gemm.residual.pixel_of(row) + channel


def is_inside(gemm: Gemm, columns: int, row: Expr, rows_are_whole: bool, channel: Expr) -> Expr | None:
    """Build the condition under which a row's channel is stored; None where it always is."""
    conditions: list[Expr] = []
    if not rows_are_whole:
        conditions.append(row < gemm.rows)
    if padded_channels(gemm, columns) > gemm.y.pitch:
        conditions.append(channel < gemm.y.pitch)
    if len(conditions) == 2:
        return conditions[0] & conditions[1]
    return conditions[0] if conditions else None
