"""Attention and softmax in fp32: rows of scores that stay in the first cache between two products."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.kernels.layout import Image, Placed, split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence
from tilewright.isa.ir import Binary, BinaryOp, Buffer, Const, DType, Expr, Load, Select, Stmt, Store, Var

_LANE, _PART = Var("lane"), Var("part")
_LEAST = -3.0e38
_ZERO = Const(0)

#: More words than this make rows of scores too long.
MOST_WORDS = 4096


def _register(name: str, size: int) -> Buffer:
    return Buffer(name, DType.F32, (size,), "register")


def _real(value: float) -> Const:
    return Const(value, DType.F32)


def softmax_row(row: Buffer, start: int, count: int, width: int) -> Stmt:
    """Build the exponentials of a row, whose largest becomes 1, and in `sums[0]` one over their sum.

    Parameters
    ----------
    row : Buffer
        Whole vectors; what is behind the row's end is the least there is.
    start, count : int
        Its place, and elements of whole vectors.
    width : int
        Elements of a vector.
    """
    best, sums = _register("best", width), _register("sums", width)
    vector = Var("vector")
    element = Load(row, (vector * width + (_LANE + start),))
    first = lanes(_LANE, width, Store(best, (_LANE,), _real(_LEAST)), Store(sums, (_LANE,), _real(0.0)))
    largest = lanes(_LANE, width, Store(best, (_LANE,), Load(best, (_LANE,)).maximum(element)))
    place = (_ZERO,)
    overall = loop(_PART, width, Store(best, place, Load(best, place).maximum(Load(best, (_PART,)))), kind="unrolled")
    apart = lanes(_LANE, width, Store(row, (vector * width + (_LANE + start),), element - Load(best, place)))
    power = call("exponential", {"y": (row, vector * width + start)}, lanes=width)
    add = lanes(_LANE, width, Store(sums, (_LANE,), Load(sums, (_LANE,)) + element))
    total = loop(_PART, width - 1, Store(sums, place, Load(sums, place) + Load(sums, (_PART + 1,))), kind="unrolled")
    invert = Store(sums, place, Binary(BinaryOp.DIV, _real(1.0), Load(sums, place)))
    vectors = count // width
    scaled = lanes(_LANE, width, Store(row, (vector * width + (_LANE + start),), element * Load(sums, place)))
    body = sequence(
        first, loop(vector, vectors, largest), overall, loop(vector, vectors, apart, power, add), total, invert,
        loop(vector, vectors, scaled),
    )  # fmt: skip
    return inside([best, sums], body)


@dataclass(frozen=True)
class FloatSoftmax:
    """Softmax of rows.

    Attributes
    ----------
    x, y : Image
        Of rows.
    level : Level
    """

    x: Image
    y: Image
    level: Level

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        width, pitch = self.level.lanes, self.x.pitch
        x, y, row = self.x.buffer("x"), self.y.buffer("y"), _register("row", pitch)
        vector = Var("number")
        place = vector * width + _LANE
        value: Expr = Load(x, (TASK * pitch + place,))
        if pitch != self.x.channels:
            value = Select(place < self.x.channels, value, _real(_LEAST))
        fetch = loop(vector, pitch // width, lanes(_LANE, width, Store(row, (place,), value)))
        put = lanes(_LANE, width, Store(y, (TASK * self.y.pitch + place,), Load(row, (place,)).cast(y.dtype)))
        body = sequence(fetch, softmax_row(row, 0, pitch, width), loop(vector, pitch // width, put))
        return tasks(name, self.y.pixels, [x, y], inside([row], body))


@dataclass(frozen=True)
class Heads:
    """What attention is over.

    Attributes
    ----------
    batch, words, heads, depth : int
    level : Level
    """

    batch: int
    words: int
    heads: int
    depth: int
    level: Level

    @property
    def columns(self) -> int:
        """Vectors of keys that are computed together."""
        return 2 if self.words > self.level.lanes else 1

    @property
    def group(self) -> int:
        """Keys that are computed together."""
        return self.columns * self.level.lanes

    @property
    def groups(self) -> int:
        """Groups of keys of a head."""
        return -(-self.words // self.group)

    @property
    def padded(self) -> int:
        """Keys in whole groups."""
        return self.groups * self.group

    @property
    def packed(self) -> int:
        """Elements of all packed keys."""
        return self.batch * self.heads * self.padded * self.depth


@dataclass(frozen=True)
class PackKeys:
    """The keys of each head as `[group, depth, key of the group]`; behind the last there are copies of it.

    Attributes
    ----------
    x : Image
    column : int
        Of the first head.
    heads : Heads
    """

    x: Image
    column: int
    heads: Heads

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a group of keys of a head."""
        h, width = self.heads, self.heads.level.lanes
        x, y = self.x.buffer("x"), Buffer("y", DType.F32, (h.packed,), "dram")
        image, head, group = split_index(TASK, (h.batch, h.heads, h.groups))
        d, part = Var("d"), Var("vector")
        key = group * h.group + part * width + _LANE
        if h.words % h.group:
            key = key.minimum(h.words - 1)
        source = (image * h.words + key) * self.x.pitch + head * h.depth + d + self.column
        target = TASK * (h.depth * h.group) + d * h.group + part * width + _LANE
        nest = loop(d, h.depth, loop(part, h.columns, lanes(_LANE, width, Store(y, (target,), Load(x, (source,))))))
        return tasks(name, h.batch * h.heads * h.groups, [x, y], nest)


@dataclass(frozen=True)
class FloatAttention:
    """Softmax of scaled products of queries with keys, masked, times the values.

    Attributes
    ----------
    q, v, y : Image
    columns : tuple of int
        Of the first head in `q` and in `v`.
    heads : Heads
    scale : float
    mask : Placed, optional
        Viewed as `[batch, heads, query, key]`.
    """

    q: Image
    v: Image
    y: Image
    columns: tuple[int, int]
    heads: Heads
    scale: float
    mask: Placed | None = None

    @property
    def rows(self) -> int:
        """Queries of a tile."""
        return max(1, min(self.heads.words, self.heads.level.accumulators // 2))

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is some queries of a head."""
        h, rows = self.heads, self.rows
        tiles = -(-h.words // rows)
        image, head, tile = split_index(TASK, (h.batch, h.heads, tiles))
        first = (tile * rows).minimum(h.words - rows) if h.words % rows else tile * rows
        buffers = {"q": self.q.buffer("q"), "k": Buffer("k", DType.F32, (h.packed,), "dram")}
        buffers |= {"v": self.v.buffer("v"), "y": self.y.buffer("y")}
        if self.mask is not None:
            buffers["mask"] = self.mask.buffer("mask")
        scores = _register("scores", rows * h.padded)
        softmax = [softmax_row(scores, row * h.padded, h.padded, h.level.lanes) for row in range(rows)]
        body = sequence(
            self._scores(buffers, scores, image, head, first),
            *softmax,
            self._mixed(buffers, scores, image, head, first),
        )
        return tasks(name, h.batch * h.heads * tiles, list(buffers.values()), inside([scores], body))

    def _scores(self, buffers: dict[str, Buffer], scores: Buffer, image: Expr, head: Expr, first: Expr) -> Stmt:
        h, rows, width = self.heads, self.rows, self.heads.level.lanes
        acc = _register("acc", rows * h.group)
        group, d = Var("group"), Var("d")
        clear = [lanes(_LANE, width, Store(acc, (_LANE + n,), _real(0.0))) for n in range(0, rows * h.group, width)]
        row = image * h.words + first
        places = {
            "acc": (acc, _ZERO),
            "x": (buffers["q"], row * self.q.pitch + head * h.depth + d + self.columns[0]),
            "w": (buffers["k"], ((image * h.heads + head) * h.groups + group) * (h.depth * h.group) + d * h.group),
        }
        product = call("fma_tile", places, rows=rows, columns=h.columns, step=self.q.pitch, lanes=width)
        done: list[Stmt] = []
        for number in range(rows):
            for part in range(h.columns):
                key = group * h.group + (part * width) + _LANE
                value: Expr = Load(acc, (_LANE + (number * h.group + part * width),)) * _real(self.scale)
                if self.mask is not None:
                    last = key.minimum(h.words - 1) if h.words % h.group else key
                    place = self.mask.view.place((image, head, first + number, last))
                    value = value + Load(buffers["mask"], (place,))
                if h.words % h.group:
                    value = Select(key < h.words, value, _real(_LEAST))
                done.append(lanes(_LANE, width, Store(scores, (key + number * h.padded,), value)))
        return inside([acc], loop(group, h.groups, *clear, loop(d, h.depth, product), *done))

    def _mixed(self, buffers: dict[str, Buffer], scores: Buffer, image: Expr, head: Expr, first: Expr) -> Stmt:
        h, rows, width = self.heads, self.rows, self.heads.level.lanes
        columns = 2 if h.depth % (2 * width) == 0 else 1
        run = columns * width
        mixed = _register("mixed", rows * run)
        part, key = Var("part_of_depth"), Var("key")
        clear = [lanes(_LANE, width, Store(mixed, (_LANE + n,), _real(0.0))) for n in range(0, rows * run, width)]
        places = {
            "acc": (mixed, _ZERO),
            "x": (scores, key),
            "w": (
                buffers["v"],
                linear((image * h.words + key, self.v.pitch), (head, h.depth), (part, run)) + self.columns[1],
            ),
        }
        product = call("fma_tile", places, rows=rows, columns=columns, step=h.padded, lanes=width)
        done = []
        for row in range(rows):
            target = (image * h.words + first + row) * self.y.pitch + head * h.depth + part * run
            for start in range(0, run, width):
                value = Load(mixed, (_LANE + (row * run + start),))
                store = Store(buffers["y"], (target + start + _LANE,), value.cast(self.y.dtype))
                done.append(lanes(_LANE, width, store))
        return inside([mixed], loop(part, h.depth // run, *clear, loop(key, h.words, product), *done))
