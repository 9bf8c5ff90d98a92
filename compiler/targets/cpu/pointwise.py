"""Kernels on single elements, and those that only move them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.kernels.layout import Image, View, split_index, surrounded
from tilewright.compiler.targets.kernels.nests import inside, loop, sequence
from tilewright.isa.ir import (
    Binary,
    BinaryOp,
    Buffer,
    Const,
    DType,
    Expr,
    Load,
    Lookup,
    Stmt,
    Store,
    Table,
    Var,
)

_LANE = Var("lane")
_PIXELS = 16
_FAR = float(1 << 20)


@dataclass(frozen=True)
class Pointwise:
    """An operator on single elements of one or two images.

    Attributes
    ----------
    x, y : Image
    finish : Finish
    bias : int
        Added to the signed input where it is requantized.
    residual : Image, optional
    """

    x: Image
    y: Image
    finish: Finish
    bias: int = 0
    residual: Image | None = None

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        width = self.finish.level.lanes
        n, h = split_index(TASK, (self.y.batch, self.y.height))
        column, vector = Var("column"), Var("vector")
        channel = vector * width
        buffers = [self.x.buffer("x"), self.y.buffer("y")]
        residual = None
        if self.residual is not None:
            buffers.append(self.residual.buffer("residual"))
            residual = buffers[-1], self.residual.pixel(n, h, column) + channel
        constants = self.finish.constants(self.y.pitch)
        acc = Buffer("acc", DType.I32, (width,), "register")
        element: Expr = Load(buffers[0], (self.x.pixel(n, h, column) + channel + _LANE,)).cast(DType.I32)
        if self.finish.method:
            element = element + (self.bias - OFFSET)
        first = lanes(_LANE, width, Store(acc, (_LANE,), element))
        output = buffers[1], self.y.pixel(n, h, column) + channel
        done = self.finish.pixel((acc, 0), 1, channel, constants, residual, output)
        nest = loop(column, self.y.width, loop(vector, self.y.pitch // width, inside([acc], sequence(first, done))))
        return tasks(name, self.y.batch * self.y.height, [*buffers, *constants.values()], nest)


@dataclass(frozen=True)
class Move:
    """A copy of elements in row-major order of both views, which may differ in shape.

    Attributes
    ----------
    source, target : View
    source_size, target_size : int
        Elements of the buffers.
    flip : bool
        Exchange signed and offset bytes.
    dtype : DType
        Of elements.
    result : DType, optional
        Of the copy's elements, if it is another.
    """

    source: View
    source_size: int
    target: View
    target_size: int
    flip: bool = False
    dtype: DType = DType.U8
    result: DType | None = None

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is an element of the outer dimensions."""
        x = Buffer("x", self.dtype, (self.source_size,), "dram")
        y = Buffer("y", self.result or self.dtype, (self.target_size,), "dram")
        if self.source.shape == self.target.shape:
            return self._nest(name, x, y)
        outer, inner = prod(self.target.shape[:-1]), self.target.shape[-1]
        index, last = split_index(TASK, self.target.shape[:-1]), Var("last")
        number = TASK * inner + last
        value = self._value(Load(x, (self.source.place(split_index(number, self.source.shape)),)))
        return tasks(name, outer, [x, y], loop(last, inner, Store(y, (self.target.place((*index, last)),), value)))

    def _value(self, value: Expr) -> Expr:
        return (value ^ OFFSET if self.flip else value).cast(self.result or self.dtype)

    def _nest(self, name: str, x: Buffer, y: Buffer) -> Kernel:
        """Build loops in the order of the target's strides, whole vectors where both sides are contiguous."""
        dimensions = self._dimensions()
        variables: list[Expr] = [Var(f"i{number}") for number in range(len(dimensions))]
        shared = dimensions[: min(2, len(dimensions) - 1)]
        variables[: len(shared)] = split_index(TASK, tuple(extent for extent, _, _ in shared))
        (extent, *last), var = dimensions[-1], Var(f"i{len(dimensions) - 1}")

        def store(index: Expr) -> Stmt:
            places = []
            for side, start in ((1, self.source.offset), (2, self.target.offset)):
                place: Expr = Const(start)
                for dimension, value in zip(dimensions, (*variables[:-1], index), strict=True):
                    place = place + value * dimension[side]
                places.append(place)
            return Store(y, (places[1],), self._value(Load(x, (places[0],))))

        if last == [1, 1]:
            width = next(count for count in (64, 16, 4, 1) if extent >= count)
            start = (var * width).minimum(extent - width) if extent % width else var * width
            body = loop(var, -(-extent // width), lanes(_LANE, width, store(start + _LANE)))
        else:
            body = loop(var, extent, store(var))
        for number in reversed(range(len(shared), len(dimensions) - 1)):
            body = loop(Var(f"i{number}"), dimensions[number][0], body)
        return tasks(name, prod(extent for extent, _, _ in shared), [x, y], body)

    def _dimensions(self) -> list[tuple[int, int, int]]:
        """Give extent and strides of the dimensions, outermost in the target first; those that continue joined."""
        sides = zip(self.target.shape, self.source.strides, self.target.strides, strict=True)
        used = sorted((d for d in sides if d[0] > 1), key=lambda d: -d[2])
        joined: list[tuple[int, int, int]] = []
        for extent, source, target in used:
            if joined and joined[-1][1:] == (source * extent, target * extent):
                joined[-1] = (joined[-1][0] * extent, source, target)
            else:
                joined.append((extent, source, target))
        return joined or [(1, 1, 1)]


@dataclass(frozen=True)
class ZipPlanes:
    """A copy from images of a few planes, rows side by side, to pixels with their channels side by side.

    Attributes
    ----------
    source : View
        `[N, C, H, W]`, C at most 4, W at least 16.
    source_size : int
    target : Image
        Of as many bytes a pixel as there are planes.
    flip : bool
        Exchange signed and offset bytes.
    """

    source: View
    source_size: int
    target: Image
    flip: bool

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        batch, planes, height, width = self.source.shape
        x = Buffer("x", DType.U8, (self.source_size,), "dram")
        y = self.target.buffer("y")
        n, h = split_index(TASK, (batch, height))
        run = Var("run")
        w = (run * _PIXELS).minimum(width - _PIXELS) if width % _PIXELS else run * _PIXELS
        places = {"x": (x, self.source.place((n, Const(0), h, w))), "y": (y, self.target.pixel(n, h, w))}
        zipped = call("zip_planes", places, planes=planes, step=self.source.strides[1], flip=int(self.flip))
        return tasks(name, batch * height, [x, y], loop(run, -(-width // _PIXELS), zipped))

    @staticmethod
    def fits(source: View, target: Image) -> bool:
        """Whether a copy has this form."""
        shape = source.shape
        return len(shape) == 4 and source.strides[3] == 1 and target.pitch == shape[1] <= 4 and shape[3] >= _PIXELS


@dataclass(frozen=True)
class Pad:
    """Elements surrounded by a value.

    Attributes
    ----------
    source, target : View
    source_size, target_size : int
    begins : tuple of int
    value : int
        As a byte.
    """

    source: View
    source_size: int
    target: View
    target_size: int
    begins: tuple[int, ...]
    value: int

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is an element of the outer dimensions."""
        x = Buffer("x", DType.U8, (self.source_size,), "dram")
        y = Buffer("y", DType.U8, (self.target_size,), "dram")
        shape = self.target.shape
        last = Var("last")
        index = (*split_index(TASK, shape[:-1]), last)
        chosen = surrounded(self.source, x, self.begins, index, self.value)
        store = Store(y, (self.target.place(index),), chosen)
        return tasks(name, prod(shape[:-1]), [x, y], loop(last, shape[-1], store))


@dataclass(frozen=True)
class GatherPlaces:
    """Some places of a dimension.

    Attributes
    ----------
    source, target : View
    source_size, target_size : int
    axis : int
    indices : tuple of int
    """

    source: View
    source_size: int
    target: View
    target_size: int
    axis: int
    indices: tuple[int, ...]

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is an element of the outer dimensions."""
        x = Buffer("x", DType.U8, (self.source_size,), "dram")
        y = Buffer("y", DType.U8, (self.target_size,), "dram")
        shape, last = self.target.shape, Var("last")
        index = (*split_index(TASK, shape[:-1]), last)
        origin = list(index)
        origin[self.axis] = Lookup(Table(f"{name}_places", DType.I64, self.indices), index[self.axis])
        store = Store(y, (self.target.place(index),), Load(x, (self.source.place(tuple(origin)),)))
        return tasks(name, prod(shape[:-1]), [x, y], loop(last, shape[-1], store))


@dataclass(frozen=True)
class Quantize:
    """Floats as bytes: divided by the scale, rounded to even, saturated.

    Attributes
    ----------
    count : int
    scale : float
    low, high, zero : int
        Bounds and zero point of the integer type; bytes are `OFFSET` more where that is signed.
    offset : int
    """

    count: int
    scale: float
    zero: int
    low: int
    high: int
    offset: int

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a run of elements."""
        width = next(count for count in (16, 8, 4, 2, 1) if self.count >= count)
        x = Buffer("x", DType.F32, (self.count,), "dram")
        y = Buffer("y", DType.U8, (self.count,), "dram")
        runs = -(-self.count // width)
        start = (TASK * width).minimum(self.count - width) if self.count % width else TASK * width
        scaled = Load(x, (start + _LANE,)) // Const(self.scale, DType.F32)
        limited = Binary(BinaryOp.MIN, Binary(BinaryOp.MAX, scaled, Const(-_FAR, DType.F32)), Const(_FAR, DType.F32))
        floats = Buffer("floats", DType.F32, (width,), "register")
        integers = Buffer("integers", DType.I32, (width,), "register")
        rounded = call("round_even", {"y": (integers, Const(0)), "x": (floats, Const(0))}, lanes=width)
        total = Load(integers, (_LANE,)) + self.zero
        value = (total.maximum(self.low).minimum(self.high) + self.offset).cast(DType.U8)
        body = sequence(
            lanes(_LANE, width, Store(floats, (_LANE,), limited)), rounded,
            lanes(_LANE, width, Store(y, (start + _LANE,), value)),
        )  # fmt: skip
        return tasks(name, runs, [x, y], inside([floats, integers], body))


@dataclass(frozen=True)
class Dequantize:
    """Bytes as floats: the zero point taken away, times the scale.

    Attributes
    ----------
    count : int
    scale : float
    zero : int
        Of bytes.
    """

    count: int
    scale: float
    zero: int

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a run of elements."""
        width = next(count for count in (16, 8, 4, 2, 1) if self.count >= count)
        x = Buffer("x", DType.U8, (self.count,), "dram")
        y = Buffer("y", DType.F32, (self.count,), "dram")
        runs = -(-self.count // width)
        start = (TASK * width).minimum(self.count - width) if self.count % width else TASK * width
        integer = Load(x, (start + _LANE,)).cast(DType.I32) - self.zero
        value = integer.cast(DType.F32) * Const(self.scale, DType.F32)
        return tasks(name, runs, [x, y], lanes(_LANE, width, Store(y, (start + _LANE,), value)))
