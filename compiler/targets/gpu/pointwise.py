"""Kernels that give every thread a run of neighbouring channels of one pixel: additions, tables, rescaling, copies."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.gpu.epilogue import Finishing, finish_run
from tilewright.compiler.targets.gpu.gemm import SUMS
from tilewright.compiler.targets.gpu.kernel import Kernel, call, copy
from tilewright.compiler.targets.kernels.layout import Image, Placed, View, split_index, surrounded
from tilewright.compiler.targets.kernels.nests import inside, loop, sequence, when
from tilewright.isa.ir import Buffer, Const, Expr, Function, Load, Stmt, Store, Var

THREADS = 128
_T, _B = Var("t"), Var("block")
_CONSTANTS = frozenset({"bias", "multiplier", "shift", "table"})
_RUN = 16


def grid_of_threads(name: str, count: int, buffers: list[Buffer], body: Stmt, local: list[Buffer]) -> Kernel:
    """Build a kernel whose `count` threads each do `body` with their number, `block * THREADS + t`."""
    guarded = when(thread_number() < count if count % THREADS else None, body)
    phases = sequence(
        call("dependents_launch"), call("dependency_wait"), loop(_T, THREADS, guarded, kind="bound:thread")
    )
    grid = loop(_B, -(-count // THREADS), inside(local, phases), kind="bound:block.x")
    return Kernel(Function(name, (), tuple(buffers), grid), _CONSTANTS)


def thread_number() -> Expr:
    """Build a thread's number in the whole grid."""
    return _B * THREADS + _T


@dataclass(frozen=True)
class Pointwise:
    """An operator on single elements of one or two images.

    Attributes
    ----------
    x, y : Image
    finish : Finishing
    residual : Image, optional
    flip : bool
        Exchange the signed and the unsigned reading of the input.
    """

    x: Image
    y: Image
    finish: Finishing
    residual: Image | None = None
    flip: bool = False

    def kernel(self, name: str) -> Kernel:
        """Build the kernel: 16 channels a thread."""
        runs = self.y.pitch // _RUN
        pixel, run = split_index(thread_number(), (self.y.pixels, runs))
        channel = run * _RUN
        x, y = self.x.buffer("x"), self.y.buffer("y")
        inputs = Buffer("x_run", self.x.dtype, (THREADS, _RUN), "register")
        step = min(_RUN, 128 // self.x.dtype.bits)
        origin = self.x.pixel_of(pixel) + channel
        fetch = sequence(
            *(copy(step, inputs, (_T, Const(i)), x, (origin + i if i else origin,)) for i in range(0, _RUN, step))
        )
        buffers, residual = [x, y], None
        if self.residual is not None:
            b = self.residual.buffer("residual")
            buffers.append(b)
            residual = b, self.residual.pixel_of(pixel) + channel
        constants = self.finish.constants(self.y.pitch)
        totals = [self._element(Load(inputs, (_T, Const(n)))) for n in range(_RUN)]
        output = y, self.y.pixel_of(pixel) + channel
        done = finish_run(self.finish, _T, THREADS, totals, channel, constants, residual, output)
        body = sequence(fetch, done)
        return grid_of_threads(name, self.y.pixels * runs, [*buffers, *constants.values()], body, [inputs])

    def _element(self, value: Expr) -> Expr:
        flipped = value ^ -128 if self.flip else value
        return flipped.cast(SUMS[self.x.dtype])


def gather(name: str, source: Placed, target: Image) -> Kernel:
    """Build the kernel that brings elements, wherever they lie, into an image of their shape: 4 channels a thread."""
    runs = -(-target.channels // 4)
    extents = (target.batch, target.height, target.width, runs)
    # neighbouring threads read neighbours where the source has its columns innermost
    n, run, h, w = split_index(thread_number(), (extents[0], extents[3], extents[1], extents[2]))
    x, y = source.buffer("x"), target.buffer("y")
    word = Buffer("word", target.dtype, (THREADS, 4), "register")
    loads: list[Stmt] = []
    for place in range(4):
        channel = run * 4 + place
        found = Load(x, (source.view.place(_logical(target, n, h, w, channel)),)).cast(target.dtype)
        value: Stmt = Store(word, (_T, Const(place)), found)
        if target.channels % 4:
            loads.append(Store(word, (_T, Const(place)), Const(0, target.dtype)))
            value = when(channel < target.channels, value)
        loads.append(value)
    store = copy(4, y, (target.pixel(n, h, w) + run * 4,), word, (_T, Const(0)))
    return grid_of_threads(name, prod(extents), [x, y], sequence(*loads, store), [word])


def gather_planes(name: str, source: Placed, target: Image) -> Kernel:
    """Build `gather` for few channels whose rows lie side by side in the source: 4 pixels a thread.

    Rows and planes of the source begin at multiples of 4 bytes, see `is_planar`.
    """
    columns = target.width // 4
    n, h, column = split_index(thread_number(), (target.batch, target.height, columns))
    w = column * 4
    x, y = source.buffer("x"), target.buffer("y")
    runs = [Buffer(f"plane{c}", source.dtype, (THREADS, 4), "register") for c in range(target.channels)]
    pixels = [Buffer(f"pixel{i}", target.dtype, (THREADS, 4), "register") for i in range(4)]
    zero = Const(0)
    body: list[Stmt] = [
        copy(4, run, (_T, zero), x, (source.view.place((n, Const(c), h, w)),)) for c, run in enumerate(runs)
    ]
    for i, pixel in enumerate(pixels):
        for c in range(4):
            value = Load(runs[c], (_T, Const(i))) if c < target.channels else Const(0, target.dtype)
            body.append(Store(pixel, (_T, Const(c)), value.cast(target.dtype)))
        body.append(copy(4, y, (target.pixel(n, h, w + i),), pixel, (_T, zero)))
    return grid_of_threads(name, target.batch * target.height * columns, [x, y], sequence(*body), [*runs, *pixels])


def is_planar(source: View, target: Image) -> bool:
    """Whether `gather_planes` can be used."""
    if len(target.shape) != 4 or target.pitch != 4 or target.width % 4 or source.strides[3] != 1:
        return False
    return all(place % 4 == 0 for place in (source.offset, *source.strides[:3]))


def _logical(image: Image, n: Expr, h: Expr, w: Expr, channel: Expr) -> tuple[Expr, ...]:
    if len(image.shape) == 4:
        return n, channel, h, w
    if not image.shape:
        return ()
    return (*split_index(n, image.shape[:-1]), channel) if len(image.shape) > 1 else (channel,)


def move(name: str, source: Placed, view: View, target: Placed) -> Kernel:
    """Build the kernel that copies elements in row-major order of both views, which may differ in shape and type."""
    number = thread_number()
    x, y = source.buffer("x"), target.buffer("y")
    value = Load(x, (source.view.place(split_index(number, source.view.shape)),)).cast(target.dtype)
    body = Store(y, (view.place(split_index(number, view.shape)),), value)
    return grid_of_threads(name, prod(view.shape), [x, y], body, [])


def pad(name: str, source: Placed, begins: tuple[int, ...], value: int, target: Placed) -> Kernel:
    """Build the kernel that surrounds elements by a value."""
    x, y = source.buffer("x"), target.buffer("y")
    index = split_index(thread_number(), target.view.shape)
    body = Store(y, (target.view.place(index),), surrounded(source.view, x, begins, index, value))
    return grid_of_threads(name, prod(target.view.shape), [x, y], body, [])
