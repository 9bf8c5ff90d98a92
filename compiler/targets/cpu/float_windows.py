"""Float kernels on images: depthwise convolution, averages, and operators on single elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu.float_finish import FloatFinish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.cpu.schedule import PLAIN, Schedule
from tilewright.compiler.targets.cpu.windows import Sliding
from tilewright.compiler.targets.kernels.layout import Image, split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence
from tilewright.isa.ir import Buffer, Const, DType, Expr, Load, Select, Stmt, Store, Var

_LANE = Var("lane")


@dataclass(frozen=True)
class FloatDepthwise:
    """A convolution with a kernel for each channel: a vector of channels at a time, some pixels together.

    Attributes
    ----------
    sliding : Sliding
    schedule : Schedule
    """

    sliding: Sliding
    schedule: Schedule = PLAIN

    def pack(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Order weights `[C, 1, KH, KW]` as `[vector, KH, KW, lane]`."""
        s = self.sliding
        packed = np.zeros((s.y.pitch, *s.kernel), np.float32)
        packed[: weight.shape[0]] = weight[:, 0]
        shape = (s.y.pitch // s.lanes, s.lanes, *s.kernel)
        return np.ascontiguousarray(packed.reshape(shape).transpose(0, 2, 3, 1)).reshape(-1)

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        s, width, (high, wide) = self.sliding, self.sliding.lanes, self.sliding.kernel
        buffers = s.buffers()
        taps = high * wide * width
        buffers["w"] = Buffer("w", DType.F32, (s.y.pitch // width * taps,), "dram")
        buffers["bias"] = Buffer("bias", DType.F32, (s.y.pitch,), "dram")
        count = min(self.schedule.rows, s.y.width)
        row, piece = split_index(TASK, (s.rows, s.pieces(1)))
        part, group, kh = Var("part"), Var("group"), Var("kernel_row")
        vectors = s.y.pitch // width // s.pieces(1)
        vector = piece * vectors + part
        column = (group * count).minimum(s.y.width - count) if s.y.width % count else group * count
        channel = vector * width
        acc = Buffer("acc", DType.F32, (count * width,), "register")
        bias = Load(buffers["bias"], (channel + _LANE,))
        first = [lanes(_LANE, width, Store(acc, (_LANE + p * width,), bias)) for p in range(count)]
        line = s.dilations[0] * s.x.row_pixels * s.x.pitch
        origin = s.start(row, column) + channel + kh * line
        products = [
            call(
                "fma_lanes",
                {
                    "acc": (acc, Const(p * width)),
                    "x": (buffers["x"], origin + (p * s.strides[1] + kw * s.dilations[1]) * s.x.pitch),
                    "w": (buffers["w"], vector * taps + kh * (wide * width) + kw * width),
                },
                lanes=width,
                is_bf16=int(s.x.dtype == DType.BF16),
            )
            for kw in range(wide)
            for p in range(count)
        ]
        sums = loop(kh, high, *products, kind="unrolled" if high * wide <= 25 else "serial")
        done = [s.finished(buffers, (acc, p * width), row, column + p, channel) for p in range(count)]
        body = inside([acc], sequence(*first, sums, *done))
        order = [(part, vectors), (group, -(-s.y.width // count))]
        (outer, many), (inner, times) = reversed(order) if self.schedule.is_row_major else order
        return tasks(name, s.rows * s.pieces(1), list(buffers.values()), loop(outer, many, loop(inner, times, body)))


@dataclass(frozen=True)
class FloatAverage:
    """The mean of each window, none of which reaches over the border.

    Attributes
    ----------
    sliding : Sliding
    """

    sliding: Sliding

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a vector of channels of a row."""
        s, width, (high, wide) = self.sliding, self.sliding.lanes, self.sliding.kernel
        buffers = s.buffers()
        line, vector = split_index(TASK, (s.rows, s.y.pitch // width))
        n, h = split_index(line, (s.y.batch, s.y.height))
        column, row, tap, channel = Var("column"), Var("row"), Var("tap"), vector * width + _LANE
        acc = Buffer("acc", DType.F32, (width,), "register")
        first = lanes(_LANE, width, Store(acc, (_LANE,), Const(0.0, DType.F32)))
        steps = linear((row, s.dilations[0] * s.x.row_pixels * s.x.pitch), (tap, s.dilations[1] * s.x.pitch))
        element = Load(buffers["x"], (s.start(line, column) + steps + channel,)).cast(DType.F32)
        add = lanes(_LANE, width, Store(acc, (_LANE,), Load(acc, (_LANE,)) + element))
        mean = Load(acc, (_LANE,)) * Const(1 / (high * wide), DType.F32)
        done = lanes(_LANE, width, Store(buffers["y"], (s.y.pixel(n, h, column) + channel,), mean.cast(s.y.dtype)))
        body = inside([acc], sequence(first, loop(row, high, loop(tap, wide, add)), done))
        return tasks(name, s.rows * (s.y.pitch // width), list(buffers.values()), loop(column, s.y.width, body))


@dataclass(frozen=True)
class FloatPointwise:
    """An operator on single elements of one or two images.

    Attributes
    ----------
    x, y : Image
    finish : FloatFinish
    residual : Image, optional
    """

    x: Image
    y: Image
    finish: FloatFinish
    residual: Image | None = None

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        width = self.finish.level.lanes
        n, h = split_index(TASK, (self.y.batch, self.y.height))
        column, vector = Var("column"), Var("vector")
        channel = vector * width + _LANE
        buffers = [self.x.buffer("x"), self.y.buffer("y")]
        other: Expr | None = None
        if self.residual is not None:
            buffers.append(self.residual.buffer("residual"))
            other = Load(buffers[-1], (self.residual.pixel(n, h, column) + channel,)).cast(DType.F32)
        element = Load(buffers[0], (self.x.pixel(n, h, column) + channel,)).cast(DType.F32)
        value = self.finish.value(element, other).cast(self.y.dtype)
        store = lanes(_LANE, width, Store(buffers[1], (self.y.pixel(n, h, column) + channel,), value))
        nest = loop(column, self.y.width, loop(vector, self.y.pitch // width, store))
        return tasks(name, self.y.batch * self.y.height, buffers, nest)


@dataclass(frozen=True)
class FloatNorm:
    """Layer normalization of the channels of each pixel.

    Attributes
    ----------
    x, y : Image
    epsilon : float
    finish : FloatFinish
    """

    x: Image
    y: Image
    epsilon: float
    finish: FloatFinish

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a pixel."""
        width, channels = self.finish.level.lanes, self.x.channels
        x, y = self.x.buffer("x"), self.y.buffer("y")
        scale, bias = (Buffer(role, DType.F32, (self.y.pitch,), "dram") for role in ("scale", "bias"))
        origin, target = self.x.pixel_of(TASK), self.y.pixel_of(TASK)
        vector, part = Var("vector"), Var("part")
        acc = Buffer("acc", DType.F32, (width,), "register")
        mean, spread = (Buffer(role, DType.F32, (1,), "register") for role in ("mean", "spread"))
        channel = vector * width + _LANE
        element = Load(x, (origin + channel,))
        middle: Expr = element - Load(mean, (Const(0),))
        vectors = -(-channels // width)
        is_whole = channels % width == 0

        def total(target: Buffer, value: Expr) -> list[Stmt]:
            """Build the mean over all channels: of each lane first, then of the lanes."""
            kept = value if is_whole else Select(channel < channels, value, Const(0.0, DType.F32))
            inner = lanes(_LANE, width, Store(acc, (_LANE,), Load(acc, (_LANE,)) + kept))
            clear = lanes(_LANE, width, Store(acc, (_LANE,), Const(0.0, DType.F32)))
            place = (Const(0),)
            add = Store(target, place, Load(target, place) + Load(acc, (part,)) * Const(1 / channels, DType.F32))
            start = Store(target, place, Const(0.0, DType.F32))
            return [clear, loop(vector, vectors, inner), start, loop(part, width, add, kind="unrolled")]

        root = call("inverse_root", {"y": (spread, Const(0))}, epsilon_bits=_bits(self.epsilon))
        result = middle * Load(spread, (Const(0),)) * Load(scale, (channel,)) + Load(bias, (channel,))
        store = lanes(_LANE, width, Store(y, (target + channel,), result.cast(y.dtype)))
        body = sequence(*total(mean, element), *total(spread, middle * middle), root, loop(vector, vectors, store))
        nest = inside([acc, mean, spread], body)
        return tasks(name, self.y.pixels, [x, y, scale, bias], nest)


def _bits(value: float) -> int:
    """Give a float's bits: operands of instructions are integers."""
    return int(np.float32(value).view(np.int32))
