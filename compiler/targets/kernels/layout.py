"""Where tensors lie: images with channels innermost, inside a border that already holds the padding.

Every tensor is an image: of rank 4 `[N, C, H, W]`, of others the last dimension is C and the rest N. A pixel's
channels take `pitch` elements. The border is written once, before the network runs, so that convolutions load without
asking where the image ends; elements behind a pixel's channels are undefined, but finite, and meet weights of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.kernels.nests import linear
from tilewright.isa.ir import Buffer, Const, DType, Expr, Load, Select

#: Channels are a multiple of this, but for the narrow images that enter a network.
ALIGNMENT = 16
NARROW = 4

Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class View:
    """Elements of a buffer by logical index.

    Attributes
    ----------
    shape, strides : tuple of int
    offset : int
        Of the first element.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def plain(cls, shape: tuple[int, ...]) -> View:
        """Give row-major order."""
        return cls(shape, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))

    @property
    def is_plain(self) -> bool:
        """Whether this is row-major order without gaps."""
        return View.plain(self.shape).strides == self.strides and not self.offset

    def transposed(self, order: tuple[int, ...]) -> View:
        """Give the same elements with dimensions exchanged."""
        return View(tuple(self.shape[i] for i in order), tuple(self.strides[i] for i in order), self.offset)

    def repeated(self, shape: tuple[int, ...]) -> View:
        """Repeat an operand along its dimensions of 1 and those that it lacks."""
        missing = len(shape) - len(self.shape)
        extents, strides = (1,) * missing + self.shape, (0,) * missing + self.strides
        return View(shape, tuple(0 if n == 1 else s for n, s in zip(extents, strides, strict=True)), self.offset)

    def place(self, index: tuple[Expr, ...]) -> Expr:
        """Build an element's place."""
        place = linear(*zip(index, self.strides, strict=True))
        return place + self.offset if self.offset else place


@dataclass(frozen=True)
class Image:
    """A tensor's layout.

    Attributes
    ----------
    shape : tuple of int
        Logical.
    batch, height, width, channels : int
    pitch : int
        Elements from pixel to pixel.
    pads : tuple of int
        Border: top, left, bottom, right.
    value : int
        What every byte of the border holds.
    dtype : DType
        Of an element; `pitch` and places count elements.
    """

    shape: tuple[int, ...]
    batch: int
    height: int
    width: int
    channels: int
    pitch: int
    pads: Pads = (0, 0, 0, 0)
    value: int = 0
    dtype: DType = DType.I8

    @classmethod
    def of(
        cls, shape: tuple[int, ...], pads: Pads = (0, 0, 0, 0), value: int = 0, narrow: bool = False,
        dtype: DType = DType.I8,
    ) -> Image:  # fmt: skip
        """Lay out a tensor of a logical shape."""
        if len(shape) == 4:
            batch, channels, height, width = shape
        else:
            batch, channels, height, width = prod(shape[:-1]), shape[-1] if shape else 1, 1, 1
        if narrow:  # rows begin at multiples of 16 bytes
            pads = (*pads[:3], pads[3] + -(width + pads[1] + pads[3]) % NARROW)
        pitch = NARROW if narrow else -(-channels // ALIGNMENT) * ALIGNMENT
        return cls(shape, batch, height, width, channels, pitch, pads, value if any(pads) else 0, dtype)

    @property
    def row_pixels(self) -> int:
        """Pixels of a row with its border."""
        return self.width + self.pads[1] + self.pads[3]

    @property
    def rows(self) -> int:
        """Rows with the border."""
        return self.height + self.pads[0] + self.pads[2]

    @property
    def pixels(self) -> int:
        """Pixels without the border."""
        return self.batch * self.height * self.width

    @property
    def is_dense(self) -> bool:
        """Whether there is no border."""
        return not any(self.pads)

    @property
    def size(self) -> int:
        """Elements, with what reads may run over."""
        return self.batch * self.rows * self.row_pixels * self.pitch + self.row_pixels * self.pitch + 256

    @property
    def bytes(self) -> int:
        """Memory that the elements take."""
        return self.size * self.dtype.bits // 8

    @property
    def view(self) -> View:
        """The elements by logical index."""
        row = self.row_pixels * self.pitch
        start = self.pads[0] * row + self.pads[1] * self.pitch
        if len(self.shape) == 4:
            return View(self.shape, (self.rows * row, 1, row, self.pitch), start)
        leading = tuple(prod(self.shape[axis + 1 : -1]) * self.pitch for axis in range(len(self.shape) - 1))
        return View(self.shape, (*leading, *([1] if self.shape else [])), start)

    def buffer(self, name: str) -> Buffer:
        """Declare the memory."""
        return Buffer(name, self.dtype, (self.size,), "dram")

    def pixel(self, n: Expr, h: Expr, w: Expr, top: int = 0, left: int = 0) -> Expr:
        """Build the place of a pixel, counted from `top` rows above and `left` pixels before the image."""
        row = self.row_pixels * self.pitch
        start = (self.pads[0] - top) * row + (self.pads[1] - left) * self.pitch
        place = linear((n, self.rows * row), (h, row), (w, self.pitch))
        return place + start if start else place

    def pixel_of(self, number: Expr) -> Expr:
        """Build the place of a pixel by its number in the image without border."""
        if self.is_dense:
            return number * self.pitch
        n, h, w = split_index(number, (self.batch, self.height, self.width))
        return self.pixel(n, h, w)


@dataclass(frozen=True)
class Placed:
    """A value in memory.

    Attributes
    ----------
    storage : str
    size : int
        Elements of the memory.
    view : View
        Where in it each element lies.
    image : Image, optional
        When it is one.
    dtype : DType
    """

    storage: str
    size: int
    view: View
    image: Image | None = None
    dtype: DType = DType.I8

    def buffer(self, name: str) -> Buffer:
        """Declare the memory."""
        return Buffer(name, self.dtype, (self.size,), "dram")


def is_same_memory(image: Image, other: Image) -> bool:
    """Whether two images of single pixels, of other shapes, are the same memory."""
    flat = image.is_dense and other.is_dense and image.height * image.width == other.height * other.width == 1
    return flat and (image.batch, image.channels, image.pitch) == (other.batch, other.channels, other.pitch)


def surrounded(source: View, buffer: Buffer, begins: tuple[int, ...], index: tuple[Expr, ...], value: int) -> Expr:
    """Build an element of what is a value but for a view, whose elements begin at `begins`."""
    inner = [i - begin if begin else i for i, begin in zip(index, begins, strict=True)]
    holds: Expr | None = None
    for place, extent in zip(inner, source.shape, strict=True):
        both = place.maximum(0).equals(place) & (place < extent)
        holds = both if holds is None else holds & both
    assert holds is not None
    safe = tuple(i.maximum(0).minimum(n - 1) for i, n in zip(inner, source.shape, strict=True))
    return Select(holds, Load(buffer, (source.place(safe),)), Const(value, buffer.dtype))


def split_index(number: Expr, extents: tuple[int, ...]) -> tuple[Expr, ...]:
    """Build the indices of an element by its number in row-major order."""
    found: list[Expr] = []
    for axis in range(len(extents)):
        inner = prod(extents[axis + 1 :])
        index = number // inner if inner > 1 else number
        found.append(index % extents[axis] if axis else index)
    return tuple(found)
