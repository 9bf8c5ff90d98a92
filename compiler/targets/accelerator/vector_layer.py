"""Layers of the vector unit: pooling and elementwise work, as steps of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.nests import Finish, Grid, TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.patches import clip
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads, Slots
from tilewright.compiler.targets.accelerator.tiling import evenly
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine
from tilewright.isa.vector_ops import VectorOp


@dataclass(frozen=True)
class Region:
    """Output positions that share a parameter entry: rows and columns `[first, end)`, and the entry."""

    row: int
    row_end: int
    column: int
    column_end: int
    entry: int = 0

    def within(self, row: int, row_end: int) -> Region:
        """The part in rows `[row, row_end)`; may be empty."""
        return Region(max(self.row, row), min(self.row_end, row_end), self.column, self.column_end, self.entry)


@dataclass(frozen=True)
class VectorLayer:
    """A windowed reduction over pixels, or with a window of one, elementwise work.

    Attributes
    ----------
    source, target : Placed
    op : VectorOp
    kernel, strides, dilations, pads : tuple of int
        Over height and width; pads are top and left.
    pad_value : int
    tail : Tail
    entries : int
        Parameter entries, each the same for all channels.
    regions : sequence of Region
        They cover the output.
    has_bias : bool
    name : str
    zeros : tuple of int
        Zero points of the two operands of an operation that has two; the second one is the tail's `residual`.
    """

    source: Placed
    target: Placed
    op: VectorOp
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    pad_value: int
    tail: Tail
    entries: int
    regions: Sequence[Region]
    has_bias: bool
    name: str
    zeros: tuple[int, int] = (0, 0)

    def in_rows(self, rows: int) -> int:
        """Input rows of `rows` output rows."""
        return (rows - 1) * self.strides[0] + (self.kernel[0] - 1) * self.dilations[0] + 1

    @property
    def in_columns(self) -> int:
        """Input columns of a line of output."""
        width = self.target.layout.width
        return (width - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilations[1] + 1


@dataclass(frozen=True)
class VectorTiling:
    """Output rows of successive tiles and channel blocks of a step; columns are whole."""

    heights: tuple[int, ...]
    blocks: int


def choose_vector_tiling(layer: VectorLayer, config: Config) -> VectorTiling:
    """Return the largest tiles of which two of input and two of output fit, yet several, so that engines overlap.

    Raises
    ------
    CapacityError
        When a single output row of one channel block does not fit.
    """
    height, width, blocks = layer.target.layout.height, layer.target.layout.width, layer.target.layout.blocks

    def needed(rows: int) -> int:
        return 2 * (layer.in_rows(rows) * layer.in_columns + rows * width)

    if needed(1) > config.act_rows:
        raise CapacityError(
            f"layer {layer.name}: one row of output needs {needed(1) * config.row_bytes} bytes of `memory.act_kib`, "
            f"which has {config.memory.act_kib * 1024}"
        )
    rows = height
    while needed(rows) > config.act_rows:
        rows = ceil_div(rows, 2)
    count = 1
    while rows == height and count < blocks and needed(rows) * (count + 1) <= config.act_rows // 2:
        count += 1
    return VectorTiling(evenly(height, rows), min(count, ceil_div(blocks, 2)))


def vector_steps(layer: VectorLayer, tiling: VectorTiling, pads: Scratchpads, tiles: TileTensorizer) -> Iterator[Step]:
    """Yield the steps of a layer: images, channel blocks, rows."""
    tallest = max(tiling.heights)
    in_slots = pads.slots(tiling.blocks * layer.in_rows(tallest) * layer.in_columns, 2)
    out_slots = pads.slots(tiling.blocks * tallest * layer.target.layout.width, 2)
    state = _State(layer, tiles, in_slots, out_slots, pads.prm.take(layer.entries), _table(layer, pads))
    index = 0
    for image in range(layer.target.layout.groups):
        for block in range(0, layer.target.layout.blocks, tiling.blocks):
            blocks = min(tiling.blocks, layer.target.layout.blocks - block)
            row = 0
            for rows in tiling.heights:
                yield _step(state, index, image, block, blocks, row, rows)
                row += rows
                index += 1


def _table(layer: VectorLayer, pads: Scratchpads) -> int:
    return pads.tbl.take(1) if layer.tail.table is not None else 0


@dataclass(frozen=True)
class _State:
    layer: VectorLayer
    tiles: TileTensorizer
    in_slots: Slots
    out_slots: Slots
    parameters: int
    table: int

    @property
    def config(self) -> Config:
        return self.tiles.config


def _step(state: _State, index: int, image: int, block: int, blocks: int, row: int, rows: int) -> Step:
    layer, config = state.layer, state.config
    source, target = state.in_slots.at(index), state.out_slots.at(index)
    step = Step()
    if index == 0:
        step.loads += _constants(state)
    step.loads.append(_load(state, image, block, blocks, row, rows, source))
    if layer.tail.residual is not None:
        box = _out_box(state, layer.tail.residual, image, block, blocks, row, rows, target)
        count = blocks * rows * layer.target.layout.width
        step.loads.append(load_box(config, box, Padding(), count, f"{layer.name} residual"))
    for region in layer.regions:
        part = region.within(row, row + rows)
        if part.row < part.row_end and part.column < part.column_end:
            step.computes += _computes(state, part, blocks, row, rows, source, target)
    box = _out_box(state, layer.target, image, block, blocks, row, rows, target)
    step.stores.append(store_box(config, box, blocks * rows * layer.target.layout.width, layer.name))
    return step


def _constants(state: _State) -> Iterator[Operation]:
    layer, config = state.layer, state.config
    size = config.prm_entry_bytes * layer.entries
    yield load_entries(
        config, "prm", layer.tail.parameters, state.parameters, layer.entries, 1, size, f"{layer.name} parameters"
    )
    if layer.tail.table is not None:
        yield load_entries(config, "tbl", layer.tail.table, state.table, 1, 1, 256, f"{layer.name} table")


def _load(state: _State, image: int, block: int, blocks: int, row: int, rows: int, base: int) -> Operation:
    layer, config = state.layer, state.config
    tensor = layer.source.layout
    in_rows, in_columns = layer.in_rows(rows), layer.in_columns
    top, left = row * layer.strides[0] - layer.pads[0], -layer.pads[1]
    pad_top, inside, pad_bottom = clip(top, in_rows, tensor.height - top)
    pad_left, columns, pad_right = clip(left, in_columns, tensor.width - left)
    first = (image * tensor.blocks + block) * tensor.plane + max(top, 0) * tensor.width + max(left, 0)
    if not (inside and columns):
        first, inside, columns = 0, 0, 0
        pad_top, pad_bottom, pad_left, pad_right = 0, in_rows, 0, in_columns
    loops = [
        (inside, tensor.width * config.row_bytes, in_columns),
        (blocks, tensor.plane * config.row_bytes, in_rows * in_columns),
    ]
    box = Box(layer.source.offset + first * config.row_bytes, base, columns, loops)
    padding = Padding(pad_top, pad_bottom, pad_left, pad_right, layer.pad_value)
    return load_box(config, box, padding, blocks * in_rows * in_columns, f"{layer.name} input")


def _out_box(state: _State, placed: Placed, image: int, block: int, blocks: int, row: int, rows: int, base: int) -> Box:
    tensor, row_bytes = placed.layout, state.config.row_bytes
    first = (image * tensor.blocks + block) * tensor.plane + row * tensor.width
    loops = [(rows, tensor.width * row_bytes, tensor.width), (blocks, tensor.plane * row_bytes, rows * tensor.width)]
    return Box(placed.offset + first * row_bytes, base, tensor.width, loops)


def _computes(
    state: _State, part: Region, blocks: int, row: int, rows: int, source: int, target: int
) -> Iterator[Operation]:
    """Yield the instructions for a region of a tile."""
    layer, config = state.layer, state.config
    x = Grid(blocks, layer.in_rows(rows), layer.in_columns)
    y = Grid(blocks, rows, layer.target.layout.width)
    first = (part.row - row, part.column)
    tile = VectorTile(
        layer.op, x, y, blocks * config.sub_out,
        part.row_end - part.row, part.column_end - part.column, layer.kernel, layer.strides, layer.dilations,
        zero_a=layer.zeros[0], zero_b=layer.zeros[1], finish=Finish(
            layer.tail.epilogue, layer.has_bias, table=layer.tail.table is not None, shared_parameters=True
        ),
    )  # fmt: skip
    from_x = x.offset(0, first[0] * layer.strides[0], first[1] * layer.strides[1])
    place = (target + y.offset(0, *first)) % config.act_rows * config.ratio
    entry = (state.parameters + part.entry) % config.prm_depth
    placement = {
        "x": (source + from_x) % config.act_rows * config.ratio,
        "y": place,
        "residual": place,
        "b": place,
        "p": entry,
        "table": state.table,
    }
    out_span: Span = ("act", target % config.act_rows, y.size)
    reads: list[Span] = [("act", source % config.act_rows, x.size), ("prm", entry, 1)]
    if layer.tail.residual is not None:
        reads.append(out_span)
    if layer.tail.table is not None:
        reads.append(("tbl", state.table, 1))
    for name, operands in state.tiles.calls(tile, placement):
        yield Operation(name, Engine.COMPUTE, operands, tuple(reads), (out_span,), label=layer.name)
