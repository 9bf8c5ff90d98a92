"""Kernels that slide a window over each channel by itself: depthwise convolution and pooling; 4 channels a thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.epilogue import Finishing, finish_run
from tilewright.compiler.targets.gpu.gemm import ARRAYS, SUMS, Gemm
from tilewright.compiler.targets.gpu.kernel import Kernel, call, copy
from tilewright.compiler.targets.gpu.pointwise import THREADS, grid_of_threads, thread_number
from tilewright.compiler.targets.kernels.layout import Image, split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.compiler.targets.kernels.windows import Windows
from tilewright.isa.ir import Buffer, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T = Var("t")
_RUN = 4
_LEAST = {DType.I8: -128, DType.F16: -65504.0, DType.F32: -3.4028234e38}


def across_of(y: Image) -> int:
    """Choose how many columns a thread computes: more when there are enough threads anyway."""
    threads = y.pixels * y.pitch // 4
    for across in (4, 2):
        if y.width >= across and threads // across >= 132 * 1024:
            return across
    return 1


@dataclass(frozen=True)
class Sliding(Windows[Finishing]):
    """A window over an image, which looks at each channel by itself.

    Attributes
    ----------
    across : int
        Neighbouring output columns that a thread computes.
    """

    across: int = 1

    def depthwise(self, name: str) -> Kernel:
        """Build a convolution with a kernel for each channel, packed by `pack`."""
        weights = Buffer("w", self.x.dtype, (self.kernel[0] * self.kernel[1] * self.y.pitch,), "dram")
        return self._kernel(name, "sum", [weights])

    def sums(self, name: str) -> Kernel:
        """Build the windows' sums, finished: an average."""
        return self._kernel(name, "sum", [])

    def maxima(self, name: str) -> Kernel:
        """Build the windows' largest elements."""
        return self._kernel(name, "max", [])

    def pack(self, weight: NDArray[np.generic]) -> NDArray[np.generic]:
        """Order weights `[C, 1, KH, KW]` by tap, channels innermost."""
        packed = np.zeros((*weight.shape[2:], self.y.pitch), ARRAYS[self.x.dtype])
        packed[:, :, : weight.shape[0]] = weight[:, 0].transpose(1, 2, 0)
        return packed.reshape(-1)

    def _kernel(self, name: str, kind: str, weights: list[Buffer]) -> Kernel:
        y, across = self.y, self.across
        groups = -(-y.width // across)
        n, h, group, run = split_index(thread_number(), (y.batch, y.height, groups, y.pitch // _RUN))
        first = (group * across).minimum(y.width - across) if y.width % across else group * across
        channel = run * _RUN
        constants = self.finish.constants(y.pitch)
        x, out = self.x.buffer("x"), y.buffer("y")
        kind_of_sum = SUMS[self.x.dtype]
        first_value = Const(_LEAST[self.x.dtype] if kind == "max" else 0, kind_of_sum)
        acc = Buffer("acc", kind_of_sum, (THREADS, across * _RUN), "register")
        start = self.origin(n, h, first) + channel
        body: list[Stmt] = [Store(acc, (_T, Const(i)), first_value) for i in range(across * _RUN)]
        local, steps = self._taps(kind, x, weights, start, channel, acc)
        body += steps
        buffers = [x, *weights, out]
        residual = self.residual.buffer("residual") if self.residual is not None else None
        for place in range(across):
            totals = [Load(acc, (_T, Const(place * _RUN + i))) for i in range(_RUN)]
            column = first + place if place else first
            b = None
            if residual is not None and self.residual is not None:
                b = residual, self.residual.pixel(n, h, column) + channel
            output = out, y.pixel(n, h, column) + channel
            body.append(finish_run(self.finish, _T, THREADS, totals, channel, constants, b, output))
        buffers += [*([residual] if residual is not None else []), *constants.values()]
        count = y.batch * y.height * groups * (y.pitch // _RUN)
        kernel = grid_of_threads(name, count, buffers, sequence(*body), [acc, *local])
        return Kernel(kernel.function, kernel.constants | {"w"})

    def _taps(
        self, kind: str, x: Buffer, weights: list[Buffer], start: Expr, channel: Expr, acc: Buffer
    ) -> tuple[list[Buffer], list[Stmt]]:
        """Build a window's elements, each loaded once and used by every output column that it belongs to."""
        (rows, columns), (_, step), (_, dilation) = self.kernel, self.strides, self.dilations
        wide = (self.across - 1) * step + (columns - 1) * dilation + 1
        line = self.dilations[0] * self.x.row_pixels * self.x.pitch
        local, body = [], []
        for row in range(rows):
            for tap in range(columns if weights else 0):
                word = Buffer(f"w_{row}_{tap}", self.x.dtype, (THREADS, _RUN), "register")
                local.append(word)
                origin = channel + (row * columns + tap) * self.y.pitch
                body.append(copy(_RUN, word, (_T, Const(0)), weights[0], (origin,)))
            for column in range(wide):
                used = [
                    (place, tap)
                    for place in range(self.across)
                    for tap in range(columns)
                    if place * step + tap * dilation == column
                ]
                if not used:
                    continue
                word = Buffer(f"x_{row}_{column}", self.x.dtype, (THREADS, _RUN), "register")
                local.append(word)
                body.append(copy(_RUN, word, (_T, Const(0)), x, (start + (row * line + column * self.x.pitch),)))
                for place, tap in used:
                    body += [self._update(kind, weights, acc, word, row, place, tap, i) for i in range(_RUN)]
        return local, body

    def _update(
        self, kind: str, weights: list[Buffer], acc: Buffer, word: Buffer, row: int, place: int, tap: int, i: int
    ) -> Stmt:
        target = (_T, Const(place * _RUN + i))
        value = Load(word, (_T, Const(i))).cast(acc.dtype)
        if weights:
            weight = Buffer(f"w_{row}_{tap}", self.x.dtype, (THREADS, _RUN), "register")
            value = value * Load(weight, (_T, Const(i))).cast(acc.dtype)
        old = Load(acc, target)
        return Store(acc, target, old.maximum(value) if kind == "max" else old + value)


def sliding_of(gemm: Gemm) -> Sliding:
    """Give a convolution, or a matrix product, as a window over all channels."""
    return Sliding(gemm.x, gemm.y, gemm.kernel, gemm.strides, gemm.dilations, gemm.pads, gemm.finish, gemm.residual)


def global_average(name: str, x: Image, y: Image, finish: Finishing, residual: Image | None = None) -> Kernel:
    """Build the finished sums of whole planes: 8 groups of 16 threads share the pixels of 64 channels."""
    lanes, parts = 16, THREADS // 16
    block, batch = Var("block"), Var("image")
    blocks = -(-x.pitch // (lanes * _RUN))
    channel = (block * lanes + _T % lanes) * _RUN
    constants = finish.constants(y.pitch)
    source, out = x.buffer("x"), y.buffer("y")
    kind = SUMS[x.dtype]
    acc = Buffer("acc", kind, (THREADS, _RUN), "register")
    word = Buffer("word", x.dtype, (THREADS, _RUN), "register")
    shared = Buffer("shared_sums", kind, (THREADS * _RUN,), "shared")
    pixels, turn, i = x.height * x.width, Var("turn"), Var("element")
    number = turn * parts + _T // lanes
    h, w = split_index(number, (x.height, x.width))
    fetch = copy(_RUN, word, (_T, Const(0)), source, (x.pixel(batch, h, w) + channel,))
    added = [
        Store(acc, (_T, Const(n)), Load(acc, (_T, Const(n))) + Load(word, (_T, Const(n))).cast(kind))
        for n in range(_RUN)
    ]
    guard = number < pixels
    if x.pitch % (lanes * _RUN):
        guard = guard & (channel < x.pitch)
    turns = loop(turn, -(-pixels // parts), when(guard, sequence(fetch, *added)), kind="unrolled")
    zero = loop(i, _RUN, Store(acc, (_T, i), Const(0, kind)), kind="unrolled")
    share = loop(i, _RUN, Store(shared, (linear((i, THREADS), (_T, 1)),), Load(acc, (_T, i))), kind="unrolled")
    totals = [total(Load(shared, (_T + (n * THREADS + part * lanes),)) for part in range(parts)) for n in range(_RUN)]
    b = None
    buffers = [source, out]
    if residual is not None:
        buffers.append(residual.buffer("residual"))
        b = residual.buffer("residual"), residual.pixel(batch, Const(0), Const(0)) + channel
    output = out, y.pixel(batch, Const(0), Const(0)) + channel
    done = finish_run(finish, _T, THREADS, totals, channel, constants, b, output)
    phases = sequence(
        call("dependents_launch"), call("dependency_wait"),
        loop(_T, THREADS, zero, turns, share, kind="bound:thread"), call("barrier"),
        loop(_T, lanes, when(channel < y.pitch, done), kind="bound:thread"),
    )  # fmt: skip
    grid = loop(block, blocks, inside([shared, acc, word], phases), kind="bound:block.x")
    grid = loop(batch, x.batch, grid, kind="bound:block.y")
    return Kernel(Function(name, (), (*buffers, *constants.values()), grid), frozenset(constants))


def plain_convolution(name: str, sliding: Sliding, channels: int, groups: int) -> Kernel:
    """Build a convolution with groups, one output element a thread: for what nothing faster is made for.

    Weights are `[O, KH, KW, channels]`, `channels` being those of a group.
    """
    x, y = sliding.x, sliding.y
    n, h, w, channel = split_index(thread_number(), (y.batch, y.height, y.width, y.channels))
    rows, columns = sliding.kernel
    kh, kw, c = Var("kh"), Var("kw"), Var("c")
    source, out = x.buffer("x"), y.buffer("y")
    kind = SUMS[x.dtype]
    weights = Buffer("w", x.dtype, (y.channels * rows * columns * channels,), "dram")
    acc = Buffer("acc", kind, (THREADS, 1), "register")
    group = channel // (y.channels // groups)
    start = sliding.origin(n, h, w) + group * channels
    line = sliding.dilations[0] * x.row_pixels * x.pitch
    value = Load(source, (start + linear((kh, line), (kw, sliding.dilations[1] * x.pitch), (c, 1)),)).cast(kind)
    place = linear((channel, rows * columns * channels), (kh, columns * channels), (kw, channels), (c, 1))
    product = value * Load(weights, (place,)).cast(kind)
    zero = (_T, Const(0))
    add = Store(acc, zero, Load(acc, zero) + product)
    nest = loop(kh, rows, loop(kw, columns, loop(c, channels, add)))
    constants = sliding.finish.constants(y.pitch)
    scale = {key: Load(buffer, (channel,)) for key, buffer in constants.items() if key != "table"}
    buffers, b = [source, weights, out], None
    if sliding.residual is not None:
        buffers.append(sliding.residual.buffer("residual"))
        b = Load(buffers[-1], (sliding.residual.pixel(n, h, w) + channel,))
    result = sliding.finish.value(Load(acc, zero), scale, b, constants.get("table"))
    store = Store(out, (y.pixel(n, h, w) + channel,), result.cast(y.dtype))
    body = sequence(Store(acc, zero, Const(0, kind)), nest, store)
    count = y.pixels * y.channels
    kernel = grid_of_threads(name, count, [*buffers, *constants.values()], body, [acc])
    return Kernel(kernel.function, kernel.constants | {"w"})
