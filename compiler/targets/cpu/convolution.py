"""Convolution and matrix product: direct, over images whose border is already there.

A tile of sums, some neighbouring pixels by some vectors of channels, stays in registers while a kernel row after the
other is read where it lies: its pixels' channels are contiguous. Weights are packed in the order of reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu.epilogue import Finish
from tilewright.compiler.targets.cpu.float_finish import FloatFinish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.cpu.matrix_tiles import WORDS, parts
from tilewright.compiler.targets.cpu.schedule import PLAIN, Schedule
from tilewright.compiler.targets.kernels.layout import Image, split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence
from tilewright.compiler.targets.kernels.windows import Windows
from tilewright.isa.ir import Buffer, Const, DType, Expr, Load, Stmt, Store, Var

_LANE = Var("lane")
_TILES = {DType.F32: "fma_tile", DType.BF16: "pair_tile", DType.U8: "dot_tile"}
_WORD_BYTES = 4
_RESIDENT = 32 << 10  # bytes of weights that stay in the first cache
_LINE = 64
_LEAST_WORDS, _LEAST_PIXELS = 4, 4  # of a step of matrix tiles, and of a row
_TILES_RATE = 4  # by how much matrix tiles are faster, about
_MOST_LINES = 4  # that a turn prefetches


@dataclass(frozen=True)
class Convolution(Windows[Finish | FloatFinish]):
    """A convolution without groups; a matrix product is one of images of one pixel each.

    A step takes a word of a pixel's channels: four bytes, two floats of 16 bits, or one float.

    Attributes
    ----------
    schedule : Schedule
        Its tile, neighbouring pixels by vectors of channels, is in registers.
    """

    schedule: Schedule = PLAIN

    @cached_property
    def is_flat(self) -> bool:
        """Whether all pixels lie in one row: windows of one pixel over images without border."""
        images = [self.x, self.y, *([self.residual] if self.residual is not None else [])]
        return self.kernel == self.strides == (1, 1) and all(image.is_dense for image in images)

    @property
    def width(self) -> int:
        """Pixels of a row of tiles."""
        return self.y.pixels if self.is_flat else self.y.width

    @property
    def _runs(self) -> tuple[int, int]:
        """Contiguous runs of a kernel row, and the words of one."""
        if self.dilations[1] == 1:
            return 1, -(-self.kernel[1] * self.x.pitch // self.word)
        return self.kernel[1], -(-self.x.pitch // self.word)

    @property
    def word(self) -> int:
        """Elements of a word."""
        return 8 * _WORD_BYTES // self.x.dtype.bits

    @property
    def rate(self) -> int:
        """Multiply-accumulates that take as long as a dot product of four bytes."""
        return self.word * (_TILES_RATE if self.tile_words else 1)

    @property
    def _kinds(self) -> tuple[DType, DType]:
        """Types of weights and sums."""
        return (self.x.dtype, DType.F32) if self.x.dtype.is_float else (DType.I8, DType.I32)

    @property
    def tile_words(self) -> int:
        """Words of a step of matrix tiles, 0 where there are none or sums and rows are too short for them."""
        runs, words = self._runs
        is_short = self.width < _LEAST_PIXELS or self.kernel[0] * runs * words < WORDS
        if self.x.dtype not in self.finish.level.tiles or is_short:
            return 0
        found = next(count for count in range(min(words, WORDS), 0, -1) if words % count == 0)
        return found if found >= _LEAST_WORDS else 0

    @property
    def _parts(self) -> int:
        return parts(self.schedule.rows)

    @property
    def _lanes(self) -> int:
        return self.finish.level.lanes

    @property
    def block(self) -> int:
        """Channels that are computed together."""
        return self.schedule.columns * self._lanes

    @property
    def blocks(self) -> int:
        """Groups of so many channels; the last one may begin before the end of the one before it."""
        return -(-self.y.pitch // self.block)

    def pack(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Order weights `[O, C, KH, KW]` as `[block, KH, run, word, column, lane, element]`."""
        outputs, channels = weight.shape[:2]
        runs, words = self._runs
        taps = np.zeros((self.y.pitch, *self.kernel, self.x.pitch), weight.dtype)
        taps[:outputs, :, :, :channels] = weight.transpose(0, 2, 3, 1)
        rows = np.zeros((self.y.pitch, self.kernel[0], runs, words * self.word), weight.dtype)
        used = self.kernel[1] * self.x.pitch // runs
        rows[..., :used] = taps.reshape(self.y.pitch, self.kernel[0], runs, used)
        starts = [self._first_channel(block) for block in range(self.blocks)]
        blocks = np.stack([rows[start : start + self.block] for start in starts])
        shape = (self.blocks, self.schedule.columns, self._lanes, self.kernel[0], runs, words, self.word)
        return np.ascontiguousarray(blocks.reshape(shape).transpose(0, 3, 4, 5, 1, 2, 6)).reshape(-1)

    def _first_channel(self, block: int) -> int:
        return min(block * self.block, self.y.pitch - self.block)

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row of tiles, or one tile where all pixels lie in one row."""
        tiles = -(-self.width // self.schedule.rows)
        rows = tiles if self.is_flat else self.y.batch * self.y.height
        row, block = split_index(TASK, (rows, self.blocks)) if self.schedule.is_row_major else self._by_block(rows)
        x, y = self.x.buffer("x"), self.y.buffer("y")
        runs, words = self._runs
        size = self.blocks * self.kernel[0] * runs * words * self.block * self.word
        weights, sums = self._kinds
        buffers = [x, y, Buffer("w", weights, (size,), "dram"), Buffer("bias", sums, (self.y.pitch,), "dram")]
        if self.residual is not None:
            buffers.append(self.residual.buffer("residual"))
        constants = self.finish.constants(self.y.pitch)
        number = row if self.is_flat else Var("tile")
        tile = self._tile({b.name: b for b in (*buffers, *constants.values())}, block, row, self._column(number))
        nest = tile if self.is_flat else loop(Var("tile"), tiles, tile)
        before, after = [], []
        if self.tile_words:
            amounts = {"rows": self.schedule.rows // self._parts, "words": self.tile_words}
            before, after = [call("tiles_configure", {}, **amounts)], [call("tiles_release", {})]
        arguments = [*buffers, *constants.values()]
        return tasks(name, self.blocks * rows, arguments, nest, before=before, after=after)

    def _by_block(self, rows: int) -> tuple[Expr, Expr]:
        block, row = split_index(TASK, (self.blocks, rows))
        return row, block

    @property
    def block_bytes(self) -> int:
        """Memory that the weights of a block take."""
        return self.kernel[0] * self._runs[0] * self._runs[1] * self.block * _WORD_BYTES

    def _column(self, number: Expr) -> Expr:
        """Build the first pixel of a tile; the last tile ends where the row does."""
        rows = self.schedule.rows
        return (number * rows).minimum(self.width - rows) if self.width % rows else number * rows

    def _tile(self, buffers: dict[str, Buffer], block: Expr, row: Expr, column: Expr) -> Stmt:
        rows, columns, width = self.schedule.rows, self.schedule.columns, self._lanes
        acc = Buffer("acc", self._kinds[1], (rows * columns * width,), "register")
        channel = block * self.block
        if self.y.pitch % self.block:
            channel = channel.minimum(self.y.pitch - self.block)
        first = [
            lanes(_LANE, width, Store(acc, (_LANE + (r * columns + c) * width,), _bias(buffers, channel, c * width)))
            for r in range(rows)
            for c in range(columns)
        ]
        constants = {name: b for name, b in buffers.items() if name not in ("x", "y", "w", "bias", "residual")}
        finished = []
        for r in range(rows):
            residual = None
            if self.residual is not None:
                residual = buffers["residual"], self._pixel(self.residual, row, column, r) + channel
            output = buffers["y"], self._pixel(self.y, row, column, r) + channel
            sums = acc, r * columns * width
            finished.append(self.finish.pixel(sums, columns, channel, constants, residual, output))
        body = sequence(*first, self._products(buffers, acc, block, row, column), *finished)
        return inside([acc], body)

    def _pixel(self, image: Image, row: Expr, column: Expr, number: int) -> Expr:
        if self.is_flat:
            return column * image.pitch + number * image.pitch
        n, h = split_index(row, (self.y.batch, self.y.height))
        return image.pixel(n, h, column) + number * image.pitch

    def _products(self, buffers: dict[str, Buffer], acc: Buffer, block: Expr, row: Expr, column: Expr) -> Stmt:
        """Build the sum over the window: kernel rows, runs of them, words of a run."""
        (high, _), (_, across), dilation = self.kernel, self.strides, self.dilations
        runs, words = self._runs
        line, step = self.x.row_pixels * self.x.pitch, self.block * self.word
        kh, run, group, word = Var("kernel_row"), Var("run"), Var("group"), Var("word")
        if self.is_flat:
            origin: Expr = column * self.x.pitch
        else:
            n, h = split_index(row, (self.y.batch, self.y.height))
            origin = self.origin(n, h, column)
        taken = self.tile_words or 1
        unrolled = taken * next(u for u in range(self.schedule.unrolled, 0, -1) if words // taken % u == 0)
        number = group * unrolled + word * taken
        place = origin + linear((kh, dilation[0] * line), (run, dilation[1] * self.x.pitch), (number, self.word))
        weight = linear(
            (block, high * runs * words * step), (kh, runs * words * step), (run, words * step), (number, step)
        )
        places = {"acc": (acc, Const(0)), "x": (buffers["x"], place), "w": (buffers["w"], weight)}
        if self.tile_words:
            dot = call("tiles_step", places, **self._tiles, words=taken)
        else:
            dot = call(
                _TILES[self.x.dtype], places, rows=self.schedule.rows,
                columns=self.schedule.columns, step=across * self.x.pitch, lanes=self._lanes,
            )  # fmt: skip
        steps = loop(word, unrolled // taken, dot, kind="unrolled")
        turn = linear((kh, runs * words // unrolled), (run, words // unrolled), (group, 1))
        ahead = self._prefetch(buffers["w"], block, row, column, turn, high * runs * words // unrolled)
        nest = loop(kh, high, loop(run, runs, loop(group, words // unrolled, *ahead, steps)))
        if not self.tile_words:
            return nest
        sums = {"acc": places["acc"]}
        return sequence(call("tiles_load", sums, **self._tiles), nest, call("tiles_store", sums, **self._tiles))

    @property
    def _tiles(self) -> dict[str, int]:
        """Give the amounts of matrix tiles."""
        size = self.x.dtype.bits // 8
        return {
            "parts": self._parts, "rows": self.schedule.rows // self._parts, "columns": self.schedule.columns,
            "step_bytes": self.strides[1] * self.x.pitch * size, "is_bf16": int(self.x.dtype == DType.BF16),
        }  # fmt: skip

    def _prefetch(self, w: Buffer, block: Expr, row: Expr, column: Expr, turn: Expr, turns: int) -> list[Stmt]:
        """Build what fetches the next block's weights, a part in each turn of the innermost loop."""
        size = self.block_bytes
        tiles = -(-self.width // self.schedule.rows)
        rows = 1 if self.is_flat else self.y.batch * self.y.height
        lines = -(-size // (_LINE * turns * tiles * rows))
        if size <= _RESIDENT or self.schedule.is_row_major or lines > _MOST_LINES:
            return []
        number = row if self.is_flat else row * tiles + column // self.schedule.rows
        bytes_ = _WORD_BYTES // self.word
        place = (block + 1) * (size // bytes_) + (number * turns + turn) * (lines * _LINE // bytes_)
        return [call("prefetch", {"w": (w, place)}, lines=lines)]


def _bias(buffers: dict[str, Buffer], channel: Expr, start: int) -> Expr:
    return Load(buffers["bias"], (channel + start + _LANE,))
