"""Layers that only move data, as steps: gathering, joining, interleaving, padding and turning of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.accelerator.copies import Copy, copy_steps
from tilewright.compiler.targets.accelerator.dram import ConstantPool
from tilewright.compiler.targets.accelerator.layout import TensorLayout, ceil_div
from tilewright.compiler.targets.accelerator.nests import TileTensorizer
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.progressions import Progression, progressions
from tilewright.compiler.targets.accelerator.rearrangement import is_rearrangement, rearranging_copy
from tilewright.compiler.targets.accelerator.row_copies import Loop, RowCopy, axes, channel_axis, fill_steps, row_steps
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.compiler.targets.accelerator.selection import Selection, selection_steps
from tilewright.isa.config import Config
from tilewright.isa.vector_ops import VectorOp

_MOVES = ("qpad", "qconcat", "qgather", "qinterleave")


@dataclass(frozen=True)
class Movers:
    """What movement needs to become instructions: constants, scratchpads, tiles and the operation `sum`."""

    pool: ConstantPool
    pads: Scratchpads
    tiles: TileTensorizer
    vector_sum: VectorOp

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.tiles.config

    def copied(self, copies: Sequence[RowCopy], source: Placed, target: Placed, name: str) -> Iterator[Step]:
        """Yield the steps of copies of rows."""
        return row_steps(copies, source, target, self.pads, self.config, name)

    def selected(self, selection: Selection) -> Iterator[Step]:
        """Yield the steps of a selection of channels."""
        return selection_steps(selection, self.pool, self.pads, self.tiles, self.vector_sum)


def is_move(node: Node, source: TensorLayout, target: TensorLayout) -> bool:
    """Tell whether a node, with its first operand and its result lying so, only moves data, row by row."""
    return node.op in _MOVES or is_rearrangement(node, source, target)


def move_steps(movers: Movers, node: Node, sources: Sequence[Placed], target: Placed, name: str) -> Iterator[Step]:
    """Yield the steps of a node that `is_move`.

    Raises
    ------
    CapacityError
        When no tile fits the scratchpads.
    """
    match node.op:
        case "transpose" | "reshape":
            copy = rearranging_copy(node, sources[0].layout, target.layout, movers.config)
            return movers.copied([copy], sources[0], target, name)
        case "qpad":
            return _pad(movers, node, sources[0], target, name)
        case "qconcat":
            return _concat(movers, node, sources, target, name)
        case "qinterleave":
            return _interleave(movers, node, sources, target, name)
    return _gather(movers, node["axis"], node["indices"], sources[0], target, name)


# ---- gathering -------------------------------------------------------------------------------------------------------


def _gather(
    movers: Movers, axis: int, indices: tuple[int, ...], source: Placed, target: Placed, name: str
) -> Iterator[Step]:
    if axis == channel_axis(source.layout):
        blocks = _whole_blocks(indices, movers.config)
        if blocks is None:
            return movers.selected(Selection(source, target, 0, indices, name=name))
        indices = blocks
    copies = [_cut(source, target, axis, piece, movers.config) for piece in progressions(indices)]
    return movers.copied(copies, source, target, name)


def _whole_blocks(indices: tuple[int, ...], config: Config) -> tuple[int, ...] | None:
    """The blocks that channels are, one after the other; None where they are not whole blocks."""
    lanes = config.lanes
    blocks = []
    for place in range(0, len(indices), lanes):
        first = indices[place]
        piece = indices[place : place + lanes]
        if first % lanes or piece != tuple(range(first, first + len(piece))):
            return None
        blocks.append(first // lanes)
    return tuple(blocks)


def _cut(source: Placed, target: Placed, axis: int, piece: Progression, config: Config) -> RowCopy:
    """A copy of everything but along one dimension, where it takes some places to others."""
    loops = []
    first_source = first_target = 0
    for index, (a, b) in enumerate(zip(axes(source.layout, config), axes(target.layout, config), strict=True)):
        if index != axis:
            loops.append(Loop(a.extent, a.stride, b.stride))
            continue
        loops.append(Loop(piece.count, piece.step * a.stride, piece.place_step * b.stride))
        first_source, first_target = piece.first * a.stride, piece.place * b.stride
    return RowCopy(first_source, first_target, tuple(loops))


# ---- joining ---------------------------------------------------------------------------------------------------------


def _concat(movers: Movers, node: Node, sources: Sequence[Placed], target: Placed, name: str) -> Iterator[Step]:
    axis, start = node["axis"], 0
    is_channels = axis == channel_axis(target.layout)
    for index, source in enumerate(sources):
        extent = source.layout.shape[axis]
        if is_channels:
            yield from _join_channels(movers, source, target, start, index == len(sources) - 1, name)
        else:
            unit = movers.config.gemm.batch if axis == 0 and not target.layout.is_matrix else 1
            piece = Progression(0, 1, start // unit, 1, ceil_div(extent, unit))
            yield from movers.copied([_cut(source, target, axis, piece, movers.config)], source, target, name)
        start += extent


def _join_channels(
    movers: Movers, source: Placed, target: Placed, start: int, is_last: bool, name: str
) -> Iterator[Step]:
    """Copy whole blocks; what does not lie on the target's blocks is put there by selections."""
    lanes, axis = movers.config.lanes, channel_axis(target.layout)
    count = source.layout.shape[axis]
    whole = 0
    if start % lanes == 0:
        whole = ceil_div(count, lanes) if is_last else count // lanes
    if whole:
        piece = Progression(0, 1, start // lanes, 1, whole)
        yield from movers.copied([_cut(source, target, axis, piece, movers.config)], source, target, name)
    rest = tuple(range(whole * lanes, count))
    if not rest:
        return
    first = (start + rest[0]) // lanes
    before = (start + rest[0]) % lanes
    if before:  # the block holds the channels of an earlier operand
        shared = (-1,) * before + rest[: lanes - before]
        shared += (-1,) * (lanes - len(shared))
        yield from movers.selected(Selection(source, target, first, shared, is_added=True, name=name))
        rest, first = rest[lanes - before :], first + 1
    if rest:
        yield from movers.selected(Selection(source, target, first, rest, name=name))


def _interleave(movers: Movers, node: Node, sources: Sequence[Placed], target: Placed, name: str) -> Iterator[Step]:
    rows, columns = node["factors"]
    for index, source in enumerate(sources):
        loops = []
        for a, b, factor in zip(
            axes(source.layout, movers.config), axes(target.layout, movers.config), (1, 1, rows, columns), strict=True
        ):
            loops.append(Loop(a.extent, a.stride, b.stride * factor))
        first = index // columns * target.layout.width + index % columns
        yield from movers.copied([RowCopy(0, first, tuple(loops))], source, target, name)


# ---- padding ---------------------------------------------------------------------------------------------------------


def _pad(movers: Movers, node: Node, source: Placed, target: Placed, name: str) -> Iterator[Step]:
    pads, value = node["pads"], node["value"]
    rank, axis = len(pads) // 2, channel_axis(source.layout)
    if pads[axis] or pads[axis + rank]:
        channels = (-1,) * pads[axis] + tuple(range(source.layout.shape[axis])) + (-1,) * pads[axis + rank]
        yield from movers.selected(Selection(source, target, 0, channels, value, name=name))
        return
    if not source.layout.is_matrix and rank == 4 and not pads[0] and not pads[rank]:
        border = (pads[2], pads[3], pads[6], pads[7])
        yield from copy_steps(
            Copy(source, target, 0, 0, 0, 0, border, value, name), movers.pads, movers.config
        )  # fmt: skip
        return
    yield from fill_steps(target, value, movers.pads, movers.config, name)
    loops, first = [], 0
    both = zip(axes(source.layout, movers.config), axes(target.layout, movers.config), strict=True)
    for index, (a, b) in enumerate(both):
        loops.append(Loop(a.extent, a.stride, b.stride))
        first += b.stride * pads[index]
    yield from movers.copied([RowCopy(0, first, tuple(loops))], source, target, name)
