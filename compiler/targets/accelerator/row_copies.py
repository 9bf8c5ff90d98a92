"""Copies of whole rows between tensors in DRAM, through the activation scratchpad: what movement is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, store_box
from tilewright.compiler.targets.accelerator.layout import TensorLayout
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.isa.config import Config

#: Loops of a load or store instruction, beside the run.
_LOOPS = 3


@dataclass(frozen=True)
class Loop:
    """Positions along a dimension, and rows from one to the next in the source and in the target."""

    extent: int
    source: int
    target: int


@dataclass(frozen=True)
class RowCopy:
    """Rows of a tensor that become rows of another.

    Attributes
    ----------
    source, target : int
        First row.
    loops : tuple of Loop
        Outermost first.
    """

    source: int
    target: int
    loops: tuple[Loop, ...]


@dataclass(frozen=True)
class Axis:
    """A dimension of a tensor in memory: its extent (of channels, in blocks) and rows from one place to the next."""

    extent: int
    stride: int


def channel_axis(layout: TensorLayout) -> int:
    """Return the dimension whose places lie side by side in a row."""
    return len(layout.shape) - 1 if layout.is_matrix else 1


def axes(layout: TensorLayout, config: Config) -> list[Axis]:
    """Return how the rows of a tensor lie, dimension by dimension.

    Where a row holds several images (or rows of a matrix), those count as one dimension, which cannot be cut.
    """
    if not layout.is_matrix:
        pixels = layout.shape[2:]
        strides = [prod(pixels[i + 1 :]) for i in range(len(pixels))]
        return [
            Axis(layout.groups, layout.blocks * layout.plane), Axis(layout.blocks, layout.plane),
            *(Axis(*pair) for pair in zip(pixels, strides, strict=True)),
        ]  # fmt: skip
    extents = layout.shape[:-1]
    if config.gemm.batch > 1:
        extents = (1,) * (len(extents) - 1) + (layout.width,)
    strides = [prod(extents[i + 1 :]) for i in range(len(extents))]
    return [*(Axis(*pair) for pair in zip(extents, strides, strict=True)), Axis(layout.blocks, layout.plane)]


def row_steps(
    copies: Sequence[RowCopy], source: Placed, target: Placed, pads: Scratchpads, config: Config, name: str
) -> Iterator[Step]:
    """Yield the steps of copies, as many rows at a time as a quarter of the scratchpad holds."""
    most = min(config.act_rows // 4, (1 << config.extent_bits) - 1)
    pieces = [piece for copy in copies for piece in _pieces(_merged(copy), most)]
    slots = pads.slots(max((_size(piece) for piece in pieces), default=1), 4)
    for index, piece in enumerate(pieces):
        base = slots.at(index)
        load = _box(source.offset, piece.source, base, [(p.extent, p.source) for p in piece.loops], config)
        store = _box(target.offset, piece.target, base, [(p.extent, p.target) for p in piece.loops], config)
        yield Step(
            [load_box(config, load, Padding(), _size(piece), f"{name} input")],
            [],
            [store_box(config, store, _size(piece), name)],
        )


def fill_steps(target: Placed, value: int, pads: Scratchpads, config: Config, name: str) -> Iterator[Step]:
    """Yield the steps that give every value of a tensor the same value."""
    rows = min(config.act_rows // 4, (1 << config.extent_bits) - 1, target.layout.rows)
    base = pads.slots(rows, 1).at(0)
    for first in range(0, target.layout.rows, rows):
        count = min(rows, target.layout.rows - first)
        box = Box(target.offset + first * config.row_bytes, base, count, [])
        empty = Box(0, base, 0, [(0, 0, count)])
        fill = load_box(config, empty, Padding(0, 1, 0, rows, value), rows, f"{name} border")
        yield Step([] if first else [fill], [], [store_box(config, box, count, name)])


def _size(copy: RowCopy) -> int:
    return prod(loop.extent for loop in copy.loops)


def _merged(copy: RowCopy) -> RowCopy:
    """The same copy with as few loops as do it."""
    loops: list[Loop] = []
    for loop in copy.loops:
        if loop.extent == 1:
            continue
        outer = loops[-1] if loops else None
        if outer and (outer.source, outer.target) == (loop.extent * loop.source, loop.extent * loop.target):
            loops[-1] = Loop(outer.extent * loop.extent, loop.source, loop.target)
        else:
            loops.append(loop)
    return RowCopy(copy.source, copy.target, tuple(loops))


def _pieces(copy: RowCopy, most: int) -> Iterator[RowCopy]:
    """Cut a copy into such as one load and one store can do."""
    loops = copy.loops
    has_run = bool(loops) and loops[-1].source == 1 and loops[-1].target == 1
    if _size(copy) <= most and len(loops) <= _LOOPS + has_run:
        yield copy
        return
    outer, inner = loops[0], loops[1:]
    each = prod(loop.extent for loop in inner)
    count = max(1, most // each) if len(loops) <= _LOOPS + has_run else 1
    for first in range(0, outer.extent, count):
        cut = Loop(min(count, outer.extent - first), outer.source, outer.target)
        piece = RowCopy(copy.source + first * outer.source, copy.target + first * outer.target, (cut, *inner))
        yield from _pieces(_merged(piece), most)


def _box(offset: int, first: int, base: int, loops: list[tuple[int, int]], config: Config) -> Box:
    """The box of strided rows in DRAM, dense in `act`."""
    run = 1
    if loops and loops[-1][1] == 1:
        run = loops[-1][0]
        loops = loops[:-1]
    dense, strided = run, []
    for extent, stride in reversed(loops):
        strided.append((extent, stride * config.row_bytes, dense))
        dense *= extent
    return Box(offset + first * config.row_bytes, base, run, strided)
