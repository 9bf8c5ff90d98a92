"""A depthwise convolution as steps: loads, DEPTHWISE instructions and stores of its tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.depthwise_tile import DepthwiseTile, Window, windows
from tilewright.compiler.targets.accelerator.depthwise_tiling import (
    DepthwiseProblem,
    DepthwiseTiling,
    in_slot_rows,
    out_slot_rows,
)
from tilewright.compiler.targets.accelerator.nests import Tile, TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.patches import Patch, clip, image_patches
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads, Slots
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid
from tilewright.compiler.targets.accelerator.tiling import evenly
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.vector_ops import VectorOp


@dataclass(frozen=True)
class Depthwise:
    """A problem with the places of its operands.

    Attributes
    ----------
    problem : DepthwiseProblem
    source, target : Placed
    weights : int
        First byte of the weight entries.
    tail : Tail
    zero_in : int
        What padding holds.
    name : str
    first_block : int
        Where the problem's blocks begin in the tensors and constants.
    """

    problem: DepthwiseProblem
    source: Placed
    target: Placed
    weights: int
    tail: Tail
    zero_in: int
    name: str
    first_block: int = 0


@dataclass(frozen=True)
class _Group:
    """Channel blocks that are worked on together, and where in the scratchpads their constants lie."""

    block: int
    blocks: int
    weights: int
    parameters: int
    table: int


@dataclass(frozen=True)
class _Lowering:
    """What all tiles of a layer share."""

    layer: Depthwise
    tiles: TileTensorizer
    pads: Scratchpads
    in_slots: Slots
    out_slots: Slots
    vector_sum: VectorOp
    parts: tuple[Window, ...]

    @property
    def config(self) -> Config:
        return self.tiles.config

    def co_count(self, block: int, blocks: int) -> int:
        """Blocks of `block_out` channels in `blocks` blocks from `block` on."""
        first = block * self.config.sub_out
        return min(first + blocks * self.config.sub_out, self.layer.problem.co_count) - first


def depthwise_steps(
    layer: Depthwise, tiling: DepthwiseTiling, pads: Scratchpads, tiles: TileTensorizer, vector_sum: VectorOp
) -> Iterator[Step]:
    """Yield the steps of a depthwise convolution: images, groups of channel blocks, rows, columns.

    Parameters
    ----------
    layer, tiling
    pads
        The scratchpads as earlier layers leave them.
    tiles
        Turns computations into instructions.
    vector_sum
        The vector operation that ends sums to which a residual is added.
    """
    problem = layer.problem
    in_slots = pads.slots(in_slot_rows(problem, tiling.blocks, tiling.height, tiling.width), 2)
    out_slots = pads.slots(out_slot_rows(problem, tiling.blocks, tiling.height, tiling.width), 2)
    parts = tuple(windows(problem.kernel, tiles.config))
    state = _Lowering(layer, tiles, pads, in_slots, out_slots, vector_sum, parts)
    table = pads.tbl.take(1) if layer.tail.table is not None else -1
    index = 0
    extents = (problem.in_rows, problem.pitch)
    for image in range(problem.groups):
        block = layer.first_block
        for blocks in evenly(problem.blocks, tiling.blocks):
            step = Step()
            group = _load_constants(state, block, blocks, table, step, is_first=index == 0)
            for patch in image_patches(image, tiling, extents, layer.source.resident, layer.target.resident):
                _fill(state, patch, group, index, step)
                yield step
                step = Step()
                index += 1
            block += blocks


def _load_constants(state: _Lowering, block: int, blocks: int, table: int, step: Step, is_first: bool) -> _Group:
    """Load what a group of blocks needs for all its tiles."""
    config, layer = state.config, state.layer
    count, entries = state.co_count(block, blocks), len(state.parts)
    first = block * config.sub_out
    group = _Group(block, blocks, state.pads.wgt.take(count * entries), state.pads.prm.take(count), table)
    size = config.prm_entry_bytes
    step.loads.append(
        load_entries(
            config, "prm", layer.tail.parameters + first * size, group.parameters, count, 1, count * size,
            f"{layer.name} parameters",
        )
    )  # fmt: skip
    size = entries * config.wgt_entry_bytes
    step.loads.append(
        load_entries(
            config, "wgt", layer.weights + first * size, group.weights, count * entries, 1, count * size,
            f"{layer.name} weights",
        )
    )  # fmt: skip
    if is_first and layer.tail.table is not None:
        step.loads.append(load_entries(config, "tbl", layer.tail.table, table, 1, 1, 256, f"{layer.name} table"))
    return group


def _fill(state: _Lowering, patch: Patch, group: _Group, index: int, step: Step) -> None:
    """Add a tile's loads, instructions and stores to a step."""
    config, layer = state.config, state.layer
    source, target = _places(state, patch, group.block, index)
    count = group.blocks * patch.plane
    if layer.source.resident is None:
        step.loads.append(_load_input(state, patch, group, source))
    if layer.tail.residual is not None:
        box = _out_box(state, layer.tail.residual, patch, group, target)
        load = load_box(config, box, Padding(), count, f"{layer.name} residual")
        load.writes = patch.out_spans(target, group.blocks, config)
        step.loads.append(load)
    step.computes += _computes(state, patch, group, source, target)
    if layer.target.is_stored:
        store = store_box(config, _out_box(state, layer.target, patch, group, target), count, layer.name)
        store.reads = patch.out_spans(target, group.blocks, config)
        step.stores.append(store)


def _places(state: _Lowering, patch: Patch, block: int, index: int) -> tuple[int, int]:
    """The rows of `act` where a tile's input and output begin."""
    source, target = state.layer.source.resident, state.layer.target.resident
    top, left = _corner(state.layer.problem, patch)
    return (
        state.in_slots.at(index) if source is None else source.at(block, top, left),
        state.out_slots.at(index) if target is None else target.at(block, patch.row, patch.column),
    )


def _corner(problem: DepthwiseProblem, patch: Patch) -> tuple[int, int]:
    """The row and column of input at which a tile's windows begin; negative in the padding."""
    return patch.row * problem.strides[0] - problem.pads[0], patch.column * problem.strides[1] - problem.pads[1]


def _load_input(state: _Lowering, patch: Patch, group: _Group, base: int) -> Operation:
    config, layer, problem = state.config, state.layer, state.layer.problem
    top, left = _corner(problem, patch)
    pad_top, rows, pad_bottom = clip(top, patch.in_rows, problem.in_height - top)
    pad_left, columns, pad_right = clip(left, patch.in_columns, problem.in_width - left)
    layout, row_bytes = layer.source.layout, config.row_bytes
    first = (patch.image * layout.blocks + group.block) * layout.plane + max(top, 0) * layout.width + max(left, 0)
    if not (rows and columns):
        first, rows, columns = 0, 0, 0
        pad_top, pad_bottom, pad_left, pad_right = 0, patch.in_rows, 0, patch.in_columns
    loops = [
        (rows, layout.width * row_bytes, patch.in_columns),
        (group.blocks, layout.plane * row_bytes, patch.in_plane),
    ]
    box = Box(layer.source.offset + first * row_bytes, base, columns, loops)
    padding = Padding(pad_top, pad_bottom, pad_left, pad_right, layer.zero_in)
    return load_box(config, box, padding, group.blocks * patch.in_plane, f"{layer.name} input")


def _out_box(state: _Lowering, placed: Placed, patch: Patch, group: _Group, base: int) -> Box:
    layout, row_bytes = placed.layout, state.config.row_bytes
    first = (patch.image * layout.blocks + group.block) * layout.plane + patch.row * layout.width + patch.column
    loops = [
        (patch.rows, layout.width * row_bytes, patch.out_columns),
        (group.blocks, layout.plane * row_bytes, patch.out_plane),
    ]
    return Box(placed.offset + first * row_bytes, base, patch.columns, loops)


@dataclass(frozen=True)
class _Place:
    """Where the operands of a tile begin (rows of `act`, entries of the others) and how many blocks it has."""

    source: int
    weights: int
    parameters: int
    target: int
    sums: int
    table: int
    count: int


def _computes(state: _Lowering, patch: Patch, group: _Group, source: int, target: int) -> Iterator[Operation]:
    """Yield the instructions of a tile: whole rows of lanes, then those of a last row that is not full."""
    count, sub_out = state.co_count(group.block, group.blocks), state.config.sub_out
    sums = state.pads.acc.take(count * patch.plane) if len(state.parts) > 1 else 0
    whole = count // sub_out * sub_out
    for first, part in ((0, whole), (whole, count - whole)):
        if part:
            row = first // sub_out
            yield from _windows(
                state, patch,
                _Place(
                    source=source + row * patch.in_plane,
                    weights=group.weights + first * len(state.parts),
                    parameters=group.parameters + first,
                    target=target + row * patch.out_plane,
                    sums=sums + first * patch.plane,
                    table=group.table,
                    count=part,
                ),
            )  # fmt: skip


def _windows(state: _Lowering, patch: Patch, place: _Place) -> Iterator[Operation]:
    """Yield an instruction for each window of the kernel, and what ends the sums."""
    config, layer = state.config, state.layer
    rows = -(-place.count // config.sub_out)
    out = Grid(rows, patch.out_rows, patch.out_columns)
    sums_grid = Grid(place.count, patch.rows, patch.columns)
    grid = Grid(rows, patch.in_rows, patch.in_columns)
    sums: Span = ("acc", place.sums % config.acc_depth, place.count * patch.plane)
    target = patch.out_spans(place.target, rows, config)
    ending = _ending(state, place, target)
    finish = Finish(layer.tail.epilogue, bias=True, table=layer.tail.table is not None)
    is_split = len(state.parts) > 1 and layer.tail.residual is not None
    for index, part in enumerate(state.parts):
        finishes = index == len(state.parts) - 1 and not is_split
        tile = DepthwiseTile(
            grid, out if finishes else sums_grid, place.count, patch.rows, patch.columns, (part.rows, part.columns),
            layer.problem.strides, len(state.parts),
            replace(finish, accumulate=index > 0) if finishes else Finish(accumulate=index > 0),
        )  # fmt: skip
        start = place.source + grid.offset(0, part.row, part.column)
        reads: list[Span] = [
            _input_span(state, place, grid),
            ("wgt", place.weights % config.wgt_depth, place.count * len(state.parts)),
            *([sums] if index else []),
            *(ending if finishes else []),
        ]
        placement = _placement(state, place, start, place.weights + index, finishes)
        yield from _operations(state, tile, placement, tuple(reads), target if finishes else (sums,))
    if is_split:
        last = VectorTile(
            state.vector_sum, sums_grid, out, place.count, patch.rows, patch.columns, from_acc=True, finish=finish
        )
        placement = _placement(state, place, 0, 0, True) | {"x": sums[1]}
        yield from _operations(state, last, placement, (sums, *ending), target)


def _input_span(state: _Lowering, place: _Place, grid: Grid) -> Span:
    resident = state.layer.source.resident
    if resident is not None:
        return ("act", resident.base % state.config.act_rows, resident.grid.size)
    return ("act", place.source % state.config.act_rows, grid.size)


def _ending(state: _Lowering, place: _Place, target: tuple[Span, ...]) -> list[Span]:
    """What the epilogue reads."""
    tail = state.layer.tail
    return [
        ("prm", place.parameters % state.config.prm_depth, place.count),
        *(target if tail.residual is not None else []),
        *([("tbl", place.table, 1)] if tail.table is not None else []),
    ]


def _placement(state: _Lowering, place: _Place, start: int, weights: int, finishes: bool) -> dict[str, int]:
    config = state.config
    target, sums = place.target % config.act_rows * config.ratio, place.sums % config.acc_depth
    return {
        "x": start % config.act_rows * config.ratio,
        "w": weights % config.wgt_depth,
        "p": place.parameters % config.prm_depth,
        "addend": sums,
        "table": max(place.table, 0),
        "residual": target,
        "y": target if finishes else sums,
    }


def _operations(
    state: _Lowering, tile: Tile, placement: dict[str, int], reads: tuple[Span, ...], writes: tuple[Span, ...]
) -> Iterator[Operation]:
    for name, operands in state.tiles.calls(tile, placement):
        yield Operation(name, Engine.COMPUTE, operands, reads, writes, label=state.layer.name)
