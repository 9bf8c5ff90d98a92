"""How tensors lie in the accelerator's memory: activations, weights, epilogue parameters; packing and unpacking.

Activations are `[groups][blocks][height][width][lanes/atom][batch][atom]` int8, where an image tensor `[N,C,H,W]` has
`ceil(N/batch)` groups and `ceil(C/lanes)` blocks, and a matrix `[..., K]` of M rows is one group of height 1 and width
`ceil(M/batch)`. A stack of matrices `[..., M, K]`, one row at a time (batch 1), has a group for each. What lies beyond
N, C, M or K holds anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.config import Config
from tilewright.isa.parameter_record import BIAS, MULTIPLIER, NEGATE, SHIFT

Array = NDArray[Any]
Bytes = NDArray[np.uint8]


def ceil_div(value: int, divisor: int) -> int:
    """`value / divisor`, rounded up."""
    return -(-value // divisor)


@dataclass(frozen=True)
class Fold:
    """A window of an image whose values stand in the channels: `[ky][kx][c]` of the window at each position.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
        Of the window, over height and width.
    pads : tuple of int
        Top and left.
    extents : tuple of int
        Positions in height and width.
    value : int
        What lies beyond the image.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    extents: tuple[int, int]
    value: int


@dataclass(frozen=True)
class TensorLayout:
    """An activation tensor in memory.

    Attributes
    ----------
    shape : tuple of int
        The logical shape.
    is_matrix : bool
        Whether the last axis holds the channels (rows of a matrix) instead of the second of four (images).
    groups, blocks, height, width : int
        Extents in units of `batch` images, `lanes` channels, pixels.
    fold : Fold or None
        What is done to the tensor, an image of any size, before it has this shape.
    """

    shape: tuple[int, ...]
    is_matrix: bool
    groups: int
    blocks: int
    height: int
    width: int
    fold: Fold | None = None

    @property
    def plane(self) -> int:
        """Rows of one channel block."""
        return self.height * self.width

    @property
    def rows(self) -> int:
        """Rows of the whole tensor."""
        return self.groups * self.blocks * self.plane

    def size_bytes(self, config: Config) -> int:
        """Bytes in memory, padding included."""
        return self.rows * config.row_bytes


def image_layout(shape: tuple[int, ...], config: Config) -> TensorLayout:
    """Return the layout of an image tensor `[N,C,H,W]`, or of one with another number of dimensions of pixels.

    All dimensions of pixels but the last count as rows.
    """
    n, c, *rows, columns = shape
    return TensorLayout(shape, False, ceil_div(n, config.gemm.batch), ceil_div(c, config.lanes), prod(rows), columns)


def matrix_layout(shape: tuple[int, ...], config: Config) -> TensorLayout:
    """Return the layout of rows of a matrix, `[..., K]`."""
    rows = prod(shape[:-1])
    return TensorLayout(shape, True, 1, ceil_div(shape[-1], config.lanes), 1, ceil_div(rows, config.gemm.batch))


def stack_layout(shape: tuple[int, ...], config: Config) -> TensorLayout:
    """Return the layout of a stack of matrices `[..., M, K]`; `batch` is 1."""
    return TensorLayout(shape, True, prod(shape[:-2]), ceil_div(shape[-1], config.lanes), 1, shape[-2])


def layout_of(shape: tuple[int, ...], is_matrix: bool, config: Config) -> TensorLayout:
    """Return the layout of a tensor in one of the two forms."""
    return matrix_layout(shape, config) if is_matrix else image_layout(shape, config)


def pack(array: Array, layout: TensorLayout, config: Config) -> Bytes:
    """Return the bytes of an int8 tensor in memory; what is padded is 0."""
    batch, lanes, atom = config.gemm.batch, config.lanes, config.atom
    ratio = config.ratio
    if layout.fold is not None:
        array = folded(array, layout.fold)
    if layout.is_matrix:
        rows: Array = array.reshape(layout.groups, -1, array.shape[-1])
        padded = _padded(rows, (layout.groups, layout.width * batch, layout.blocks * lanes))
        by_rows = padded.reshape(layout.groups, layout.width, batch, layout.blocks, ratio, atom)
        return _bytes(by_rows.transpose(0, 3, 1, 4, 2, 5))
    array = array.reshape(*array.shape[:2], layout.height, layout.width)
    images = _padded(array, (layout.groups * batch, layout.blocks * lanes, *array.shape[2:]))
    by_images = images.reshape(layout.groups, batch, layout.blocks, ratio, atom, *array.shape[2:])
    return _bytes(by_images.transpose(0, 2, 5, 6, 3, 1, 4))


def folded(array: Array, fold: Fold) -> Array:
    """Return an image tensor `[N,C,H,W]` with windows in its channels, `[N, KH*KW*C, *extents]`."""
    n, c, height, width = array.shape
    taps = np.full((n, *fold.kernel, c, *fold.extents), fold.value, np.int8)
    for ky in range(fold.kernel[0]):
        for kx in range(fold.kernel[1]):
            rows, from_rows = _inside(ky, fold, height, 0)
            columns, from_columns = _inside(kx, fold, width, 1)
            taps[:, ky, kx, :, rows, columns] = array[:, :, from_rows, from_columns]
    return taps.reshape(n, -1, *fold.extents)


def _inside(tap: int, fold: Fold, size: int, axis: int) -> tuple[slice, slice]:
    """The positions at which a tap meets the image along an axis, and where it does."""
    stride, start = fold.strides[axis], tap * fold.dilations[axis] - fold.pads[axis]
    first = ceil_div(max(-start, 0), stride)
    end = max(min(fold.extents[axis], ceil_div(size - start, stride)), first)
    source = start + first * stride
    return slice(first, end), slice(source, source + (end - first) * stride, stride)


def unpack(data: Bytes, layout: TensorLayout, config: Config) -> NDArray[np.int8]:
    """Return the int8 tensor whose bytes in memory are `data`, a copy of its own; the inverse of `pack`."""
    batch, atom, ratio = config.gemm.batch, config.atom, config.ratio
    values = np.ascontiguousarray(data).view(np.int8)
    if layout.is_matrix:
        split = values.reshape(layout.groups, layout.blocks, layout.width, ratio, batch, atom)
        whole = split.transpose(0, 2, 4, 1, 3, 5).reshape(layout.groups, layout.width * batch, -1)
        rows = prod(layout.shape[:-1]) // layout.groups
        return np.array(whole[:, :rows, : layout.shape[-1]]).reshape(layout.shape)
    by_planes: Array = values.reshape(layout.groups, layout.blocks, layout.height, layout.width, ratio, batch, atom)
    n, c = layout.groups * batch, layout.blocks * config.lanes
    images = by_planes.transpose(0, 5, 1, 4, 6, 2, 3).reshape(n, c, layout.height, layout.width)
    return np.array(images[: layout.shape[0], : layout.shape[1]]).reshape(layout.shape)


def _bytes(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape == shape:
        return array
    result: Array = np.zeros(shape, np.int8)
    result[tuple(slice(n) for n in array.shape)] = array
    return result


@dataclass(frozen=True)
class ChannelMap:
    """Which input blocks each output block of a convolution reads, in units of `lanes` channels.

    Attributes
    ----------
    starts : tuple of int
        First input block of each output block.
    span : int
        Input blocks that every output block reads.
    """

    starts: tuple[int, ...]
    span: int

    @property
    def step(self) -> int | None:
        """The distance of consecutive starts, or None when they are not evenly spaced."""
        steps = {b - a for a, b in zip(self.starts, self.starts[1:], strict=False)}
        if not steps:
            return 0
        return steps.pop() if len(steps) == 1 else None


def channel_map(inputs: int, outputs: int, groups: int, config: Config) -> ChannelMap:
    """Return the blocks that a convolution of `groups` groups reads; all of them when there is one group."""
    lanes = config.lanes
    in_blocks, out_blocks = ceil_div(inputs, lanes), ceil_div(outputs, lanes)
    if groups == 1:
        return ChannelMap((0,) * out_blocks, in_blocks)
    group_in, group_out = inputs // groups, outputs // groups
    ranges = []
    for block in range(out_blocks):
        first = block * lanes // group_out
        last = (min(outputs, (block + 1) * lanes) - 1) // group_out
        ranges.append((first * group_in // lanes, ceil_div((last + 1) * group_in, lanes)))
    span = max(high - low for low, high in ranges)
    return ChannelMap(tuple(min(low, in_blocks - span) for low, _ in ranges), span)


def pack_weights(weight: Array, groups: int, channels: ChannelMap, config: Config) -> Bytes:
    """Return the weight entries of a convolution.

    Parameters
    ----------
    weight
        `[O, C/groups, KH, KW]` int8.
    groups
        Groups of the convolution.
    channels
        The input blocks that each output block reads; weights of channels of other groups are 0.

    Returns
    -------
    Bytes
        `[co block][input block][KH][KW][sub block][block_out][block_in]`, co blocks of `block_out` up to whole rows.
    """
    lanes, block_in, block_out = config.lanes, config.gemm.block_in, config.gemm.block_out
    outputs, depth, kh, kw = weight.shape
    dense = np.zeros((len(channels.starts) * lanes, channels.span * lanes, kh, kw), np.int8)
    if groups == 1:
        dense[:outputs, :depth] = weight
    else:
        o = np.arange(outputs)
        first = (o // (outputs // groups)) * depth - np.array(channels.starts)[o // lanes] * lanes
        dense[o[:, None], first[:, None] + np.arange(depth)] = weight
    split = dense.reshape(-1, block_out, channels.span, lanes // block_in, block_in, kh, kw)
    return np.ascontiguousarray(split.transpose(0, 2, 5, 6, 3, 1, 4)).reshape(-1).view(np.uint8)


def pack_parameters(
    bias: Array, multiplier: Array, shift: Array, channels: int, config: Config, negate: Array | None = None
) -> Bytes:
    """Return parameter entries: records of bias (int32), multiplier (uint24) and shift (uint8), `[entry][block_out]`.

    Parameters
    ----------
    bias, multiplier, shift
        One value a channel, or one for all.
    negate
        1 for each channel whose sum is subtracted from the bias instead of added to it.
    channels
        Number of channels; entries are filled up to whole rows of `lanes`.
    """
    values = {BIAS: bias.astype(np.int32).view(np.uint32), MULTIPLIER: multiplier, SHIFT: shift}
    if negate is not None:
        values[NEGATE] = negate
    records = np.zeros(ceil_div(channels, config.lanes) * config.lanes, "<u8")
    for part, numbers in values.items():
        records[:channels] |= numbers.astype(np.uint64) << np.uint64(part.low)
    return records.view(np.uint8)
