"""Kernels that slide a window over each channel by itself: depthwise convolution, pooling; and grouped convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu.epilogue import Finish
from tilewright.compiler.targets.cpu.float_finish import FloatFinish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.cpu.schedule import PLAIN, Schedule
from tilewright.compiler.targets.kernels.layout import split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence
from tilewright.compiler.targets.kernels.windows import Windows
from tilewright.isa.ir import Buffer, Const, DType, Expr, Load, Stmt, Store, Var

_LANE = Var("lane")
_WORD = 4
_TASKS = 28  # fewer are not shared evenly


@dataclass(frozen=True)
class Sliding(Windows[Finish | FloatFinish]):
    """A window over an image."""

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return self.finish.level.lanes

    @property
    def rows(self) -> int:
        """Rows of the result, of all images."""
        return self.y.batch * self.y.height

    def buffers(self) -> dict[str, Buffer]:
        """Declare operands and constants."""
        found = {"x": self.x.buffer("x"), "y": self.y.buffer("y")}
        if self.residual is not None:
            found["residual"] = self.residual.buffer("residual")
        return {**found, **self.finish.constants(self.y.pitch)}

    def pieces(self, rows: int) -> int:
        """Give the parts of the channels that are tasks of their own, where tasks of so many rows would be few."""
        vectors, wanted = self.y.pitch // self.lanes, -(-_TASKS * rows // self.rows)
        return next(count for count in range(1, vectors + 1) if vectors % count == 0 and count >= min(wanted, vectors))

    def start(self, row: Expr, column: Expr) -> Expr:
        """Build the place of the first pixel of the window of a row's column."""
        n, h = split_index(row, (self.y.batch, self.y.height))
        return self.origin(n, h, column)

    def finished(
        self, buffers: dict[str, Buffer], sums: tuple[Buffer, int], row: Expr, column: Expr, channel: Expr
    ) -> Stmt:
        """Build what happens to the sums of one vector of channels."""
        n, h = split_index(row, (self.y.batch, self.y.height))
        constants = {k: b for k, b in buffers.items() if k not in ("x", "y", "w", "bias", "residual")}
        residual = None
        if self.residual is not None:
            residual = buffers["residual"], self.residual.pixel(n, h, column) + channel
        output = buffers["y"], self.y.pixel(n, h, column) + channel
        return self.finish.pixel(sums, 1, channel, constants, residual, output)


@dataclass(frozen=True)
class Depthwise:
    """A convolution with a kernel for each channel.

    The bytes of four neighbouring pixels are brought side by side, channel by channel, so that a dot product of four
    is four taps. As far as a window leaves room in four pixels, several windows share them; so do windows above each
    other.

    Attributes
    ----------
    sliding : Sliding
    schedule : Schedule
        Its rows are those that a task computes.
    """

    sliding: Sliding
    schedule: Schedule = PLAIN

    @property
    def _across(self) -> int:
        """Windows that share four pixels."""
        s = self.sliding
        return 1 if s.kernel[1] > _WORD or s.dilations[1] != 1 else (_WORD - s.kernel[1]) // s.strides[1] + 1

    @property
    def _quads(self) -> int:
        return -(-self.sliding.kernel[1] // _WORD)

    def pack(self, weight: NDArray[np.int8]) -> NDArray[np.int8]:
        """Order weights `[C, 1, KH, KW]` as `[vector, KH, quad, window, lane, 4]`."""
        s, across, quads = self.sliding, self._across, self._quads
        packed = np.zeros((s.y.pitch, s.kernel[0], across, quads * _WORD), np.int8)
        for window in range(across):
            start = window * s.strides[1]
            packed[: weight.shape[0], :, window, start : start + s.kernel[1]] = weight[:, 0]
        shape = (s.y.pitch // s.lanes, s.lanes, s.kernel[0], across, quads, _WORD)
        return np.ascontiguousarray(packed.reshape(shape).transpose(0, 2, 4, 3, 1, 5)).reshape(-1)

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is some rows."""
        s = self.sliding
        buffers = s.buffers()
        vectors, size = s.y.pitch // s.lanes, s.kernel[0] * self._quads * self._across * s.lanes * _WORD
        buffers["w"] = Buffer("w", DType.I8, (vectors * size,), "dram")
        buffers["bias"] = Buffer("bias", DType.I32, (s.y.pitch,), "dram")
        row, piece = split_index(TASK, (s.rows // self.schedule.rows, s.pieces(self.schedule.rows)))
        part, group = Var("part"), Var("group")
        vectors //= s.pieces(self.schedule.rows)
        vector = piece * vectors + part
        across = min(self._across, s.y.width)
        groups = -(-s.y.width // across)
        column = (group * across).minimum(s.y.width - across) if s.y.width % across else group * across
        body = self._windows(buffers, row * self.schedule.rows, vector, vector * size, column)
        order = [(part, vectors), (group, groups)]
        (outer, many), (inner, count) = reversed(order) if self.schedule.is_row_major else order
        nest = loop(outer, many, loop(inner, count, body))
        count = s.rows // self.schedule.rows * s.pieces(self.schedule.rows)
        return tasks(name, count, list(buffers.values()), nest)

    def _windows(self, buffers: dict[str, Buffer], row: Expr, vector: Expr, weights: Expr, column: Expr) -> Stmt:
        """Build the windows that share pixels: each four pixels are brought together once."""
        s, width = self.sliding, self.sliding.lanes
        across, quads = self._across, self._quads
        used = min(across, s.y.width)
        acc = Buffer("acc", DType.I32, (self.schedule.rows * used * width,), "register")
        channel = vector * width
        bias = Load(buffers["bias"], (channel + _LANE,))
        body: list[Stmt] = [
            lanes(_LANE, width, Store(acc, (_LANE + place * width,), bias))
            for place in range(self.schedule.rows * used)
        ]
        line, step = s.x.row_pixels * s.x.pitch, s.dilations[1] * s.x.pitch
        origin = s.start(row, column) + channel
        count = min(_WORD, (used - 1) * s.strides[1] + s.kernel[1])
        local = [acc]
        for high in range((self.schedule.rows - 1) * s.strides[0] + (s.kernel[0] - 1) * s.dilations[0] + 1):
            taps = [
                (place, (high - place * s.strides[0]) // s.dilations[0])
                for place in range(self.schedule.rows)
                if 0 <= high - place * s.strides[0] <= (s.kernel[0] - 1) * s.dilations[0]
                and (high - place * s.strides[0]) % s.dilations[0] == 0
            ]
            for quad in range(quads if taps else 0):
                pixels = Buffer(f"pixels{high}_{quad}", DType.U8, (width * _WORD,), "register")
                local.append(pixels)
                start = origin + (high * line + quad * _WORD * step)
                present = min(count, s.kernel[1] - quad * _WORD) if quads > 1 else count
                places = {"q": (pixels, Const(0)), "x": (buffers["x"], start)}
                body.append(call("interleave", places, step=step, count=present, lanes=width))
                body += [
                    self._dot(buffers, acc, pixels, (place * used + window) * width, weights, (tap, quad, window))
                    for place, tap in taps
                    for window in range(used)
                ]
        for place in range(self.schedule.rows):
            for window in range(used):
                sums = acc, (place * used + window) * width
                body.append(s.finished(buffers, sums, row + place, column + window, channel))
        return inside(local, sequence(*body))

    def _dot(
        self, buffers: dict[str, Buffer], acc: Buffer, pixels: Buffer, target: int, weights: Expr,
        number: tuple[int, int, int],
    ) -> Stmt:  # fmt: skip
        tap, quad, window = number
        start = ((tap * self._quads + quad) * self._across + window) * self.sliding.lanes * _WORD
        places = {
            "acc": (acc, Const(target)), "x": (pixels, Const(0)), "w": (buffers["w"], weights + start)
        }  # fmt: skip
        return call("dot_lanes", places, lanes=self.sliding.lanes)


@dataclass(frozen=True)
class MaxPool:
    """The largest element of each window.

    Attributes
    ----------
    sliding : Sliding
    """

    sliding: Sliding

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        s = self.sliding
        width = next(count for count in (64, 32, 16) if s.y.pitch % count == 0)
        buffers = s.buffers()
        vector, column = Var("vector"), Var("column")
        origin = s.start(TASK, column) + vector * width + _LANE
        taps: list[Expr] = [
            Load(buffers["x"], (origin + (h * s.dilations[0] * s.x.row_pixels + w * s.dilations[1]) * s.x.pitch,))
            for h in range(s.kernel[0])
            for w in range(s.kernel[1])
        ]
        kind = DType.F32 if s.x.dtype.is_float else s.x.dtype
        taps = [tap.cast(kind) for tap in taps]
        largest: Expr = taps[0]
        for tap in taps[1:]:
            largest = largest.maximum(tap)
        n, h = split_index(TASK, (s.y.batch, s.y.height))
        store = Store(buffers["y"], (s.y.pixel(n, h, column) + vector * width + _LANE,), largest.cast(s.y.dtype))
        nest = loop(column, s.y.width, loop(vector, s.y.pitch // width, lanes(_LANE, width, store)))
        return tasks(name, s.rows, list(buffers.values()), nest)


@dataclass(frozen=True)
class AveragePool:
    """The sum of each window, finished.

    Attributes
    ----------
    sliding : Sliding
    """

    sliding: Sliding

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a vector of channels of a row."""
        s, width = self.sliding, self.sliding.lanes
        buffers = s.buffers()
        buffers["bias"] = Buffer("bias", DType.I32, (s.y.pitch,), "dram")
        row, vector = split_index(TASK, (s.rows, s.y.pitch // width))
        column, high, wide = Var("column"), Var("kernel_row"), Var("kernel_column")
        acc = Buffer("acc", DType.I32, (width,), "register")
        channel = vector * width
        line = s.dilations[0] * s.x.row_pixels * s.x.pitch
        place = s.start(row, column) + channel + linear((high, line), (wide, s.dilations[1] * s.x.pitch)) + _LANE
        add = Store(acc, (_LANE,), Load(acc, (_LANE,)) + Load(buffers["x"], (place,)).cast(DType.I32))
        first = lanes(_LANE, width, Store(acc, (_LANE,), Load(buffers["bias"], (channel + _LANE,))))
        sums = loop(high, s.kernel[0], loop(wide, s.kernel[1], lanes(_LANE, width, add)))
        done = s.finished(buffers, (acc, 0), row, column, channel)
        nest = loop(column, s.y.width, inside([acc], sequence(first, sums, done)))
        return tasks(name, s.rows * (s.y.pitch // width), list(buffers.values()), nest)


@dataclass(frozen=True)
class Grouped:
    """A convolution with groups, one vector of channels at a time, channel by channel where groups are small.

    Attributes
    ----------
    sliding : Sliding
    groups, depth : int
        Groups, and input channels of each.
    """

    sliding: Sliding
    groups: int
    depth: int

    def pack(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Order weights `[O, C, KH, KW]` by tap and input channel, output channels innermost."""
        packed = np.zeros((*weight.shape[2:], weight.shape[1], self.sliding.y.pitch), weight.dtype)
        packed[..., : weight.shape[0]] = weight.transpose(2, 3, 1, 0)
        return packed.reshape(-1)

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        s, width = self.sliding, self.sliding.lanes
        buffers = s.buffers()
        pitch, (high, wide) = s.y.pitch, s.kernel
        weights, sums = (DType.F32, DType.F32) if s.x.dtype.is_float else (DType.I8, DType.I32)
        buffers["w"] = Buffer("w", weights, (high * wide * self.depth * pitch,), "dram")
        buffers["bias"] = Buffer("bias", sums, (pitch,), "dram")
        column, vector = Var("column"), Var("vector")
        kh, kw, c = Var("kernel_row"), Var("kernel_column"), Var("channel")
        acc = Buffer("acc", sums, (width,), "register")
        channel = vector * width + _LANE
        group = channel // (s.y.channels // self.groups) * self.depth
        line = s.dilations[0] * s.x.row_pixels * s.x.pitch
        place = s.start(TASK, column) + linear((kh, line), (kw, s.dilations[1] * s.x.pitch), (c, 1)) + group
        weight = linear((kh, wide * self.depth * pitch), (kw, self.depth * pitch), (c, pitch)) + channel
        value = Load(buffers["x"], (place,)).cast(sums) * Load(buffers["w"], (weight,)).cast(sums)
        add = Store(acc, (_LANE,), Load(acc, (_LANE,)) + value)
        first = lanes(_LANE, width, Store(acc, (_LANE,), Load(buffers["bias"], (channel,))))
        products = loop(kh, high, loop(kw, wide, loop(c, self.depth, lanes(_LANE, width, add))))
        done = s.finished(buffers, (acc, 0), TASK, column, vector * width)
        nest = loop(column, s.y.width, loop(vector, pitch // width, inside([acc], sequence(first, products, done))))
        return tasks(name, s.rows, list(buffers.values()), nest)
