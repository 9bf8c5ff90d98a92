"""Products of two activations: one is loaded as weights.

With one row at a time and `block_in` of all lanes, `block_out` consecutive pixels of a channel block are a weight
entry: the pixel is the entry's output channel. So the array multiplies the rows of `x` with the rows of `y`.

`(x - zx) * y = x * y + (-zx) * y`: the second product has the same row for every row of `x`. It is computed once, into
`acc`, with a row of the constant -zx (in two parts where it exceeds int8), and added to every row. A zero point of `y`,
which our own quantization avoids, takes a product of `x` with constants for every output block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import Bytes, ceil_div
from tilewright.compiler.targets.accelerator.nests import ConvTile, Finish, Grid, TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads, Slots
from tilewright.compiler.targets.accelerator.tiling import evenly
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine
from tilewright.isa.vector_ops import VectorOp


@dataclass(frozen=True)
class Product:
    """A batched product: every matrix of `left` times the transposed matrix of `right` at the same place.

    Attributes
    ----------
    left, right, target : Placed
        Stacks of matrices `[..., M, K]`, `[..., N, K]`, `[..., M, N]`.
    tail : Tail
        One parameter entry for all channels. A residual may have a single row.
    zero_left, zero_right : int
        Zero points.
    corrections : int
        First byte in DRAM of weights that multiply `left` by -zero_right; see `correction_weights`.
    name : str
    """

    left: Placed
    right: Placed
    target: Placed
    tail: Tail
    zero_left: int
    zero_right: int
    corrections: int
    name: str

    @property
    def constants(self) -> tuple[int, ...]:
        """-zero_left, as a sum of int8."""
        return _negated(self.zero_left)

    @property
    def is_split(self) -> bool:
        """Whether sums go through `acc`, to be finished by an instruction of their own."""
        return self.zero_right != 0 or (bool(self.constants) and self.tail.residual is not None)

    @property
    def has_shared_residual(self) -> bool:
        """Whether one row is added to all rows."""
        residual = self.tail.residual
        return residual is not None and residual.layout.rows != self.target.layout.rows


def _negated(zero: int) -> tuple[int, ...]:
    """A negative zero point as a sum of int8."""
    return () if zero == 0 else (-zero,) if zero > -128 else (-zero // 2, -zero - -zero // 2)


def correction_weights(zero_right: int, channels: int, config: Config) -> Bytes:
    """Return the weight entries that multiply rows of so many channels by `-zero_right`, `[part][channel block]`."""
    valid = np.arange(ceil_div(channels, config.lanes) * config.lanes) < channels
    parts = [np.where(valid, value, 0).astype(np.int8).reshape(-1, 1, config.lanes) for value in _negated(zero_right)]
    entries = [np.broadcast_to(part, (len(part), config.gemm.block_out, config.lanes)) for part in parts]
    return np.ascontiguousarray(np.concatenate(entries)).reshape(-1).view(np.uint8)


@dataclass(frozen=True)
class ProductTiling:
    """Rows of successive tiles, and output blocks (of `lanes` channels) of a step."""

    rows: tuple[int, ...]
    blocks: int


def choose_product_tiling(product: Product, config: Config) -> ProductTiling:
    """Return the largest tiles of which two of everything fit.

    Raises
    ------
    CapacityError
        When a single row and output block do not fit.
    """
    depth, total = product.left.layout.blocks, product.target.layout.blocks
    sub_out = config.sub_out

    def fits(rows: int, blocks: int) -> bool:
        beside = blocks if product.has_shared_residual else 0
        act = 2 * (rows * (depth + blocks) + beside) + len(product.constants) * depth
        sums = blocks * sub_out * (bool(product.constants) + (rows if product.is_split else 0))
        entries = (2 * blocks * sub_out + len(_negated(product.zero_right))) * depth
        return act <= config.act_rows and entries <= config.wgt_depth and 2 * sums <= config.acc_depth

    rows, blocks = product.target.layout.width, total
    while blocks > 1 and not fits(1, blocks):
        blocks = ceil_div(blocks, 2)
    while rows > 1 and not fits(rows, blocks):
        rows = ceil_div(rows, 2)
    if not fits(rows, blocks):
        raise CapacityError(f"layer {product.name}: a product over {depth} channel blocks does not fit the scratchpads")
    return ProductTiling(evenly(product.target.layout.width, rows), blocks)


@dataclass(frozen=True)
class _State:
    product: Product
    tiling: ProductTiling
    pads: Scratchpads
    tiles: TileTensorizer
    vector_sum: VectorOp
    left: Slots
    out: Slots
    shared: Slots
    sums: Slots
    raw: Slots
    weights: Slots
    corrections: int
    ones: tuple[int, ...]
    parameters: int
    table: int

    @property
    def config(self) -> Config:
        return self.tiles.config

    @property
    def depth(self) -> int:
        return self.product.left.layout.blocks


def product_steps(
    product: Product, tiling: ProductTiling, pads: Scratchpads, tiles: TileTensorizer, vector_sum: VectorOp
) -> Iterator[Step]:
    """Yield the steps of a product: matrices, groups of output blocks, rows."""
    depth, tallest = product.left.layout.blocks, max(tiling.rows)
    count = tiling.blocks * tiles.config.sub_out
    common, raw = count * bool(product.constants), count * tallest * product.is_split
    state = _State(
        product, tiling, pads, tiles, vector_sum, pads.slots(depth * tallest, 2),
        pads.slots(tiling.blocks * tallest, 2), pads.slots(tiling.blocks if product.has_shared_residual else 0, 2),
        Slots(pads.acc.take(2 * common), common, 2), Slots(pads.acc.take(2 * raw), raw, 2),
        Slots(pads.wgt.take(2 * count * depth), count * depth, 2),
        pads.wgt.take(depth * len(_negated(product.zero_right))),
        tuple(pads.act.take(depth) for _ in product.constants), pads.prm.take(1),
        pads.tbl.take(1) if product.tail.table is not None else 0,
    )  # fmt: skip
    first = Step(loads=list(_constant_loads(state)))
    index = 0
    for group in range(product.target.layout.groups):
        for block in range(0, product.target.layout.blocks, tiling.blocks):
            blocks = min(tiling.blocks, product.target.layout.blocks - block)
            number = _number(state, group, block)
            weights = state.weights.at(number) % tiles.config.wgt_depth
            place = _Place(group, block, blocks, weights, state.sums.at(number) % tiles.config.acc_depth, number)
            first.loads += entry_loads(
                product.right, group, block * state.config.sub_out, blocks * state.config.sub_out, (0, depth), weights,
                tiles.config, product.name,
            )  # fmt: skip
            first.loads += _shared_residual(state, place)
            first.computes += _correction(state, place)
            row = 0
            for rows in tiling.rows:
                yield _step(state, first, place, row, rows, index)
                first = Step()
                row += rows
                index += 1


@dataclass(frozen=True)
class _Place:
    """A matrix, some of its output blocks, and where their weights and common sums lie."""

    group: int
    block: int
    blocks: int
    weights: int
    sums: int
    number: int


def _number(state: _State, group: int, block: int) -> int:
    """How many groups of output blocks come before this one."""
    blocks = state.tiling.blocks
    return group * ceil_div(state.product.target.layout.blocks, blocks) + block // blocks


def _constant_loads(state: _State) -> Iterator[Operation]:
    product, config = state.product, state.config
    name = product.name
    yield load_entries(
        config, "prm", product.tail.parameters, state.parameters, 1, 1, config.prm_entry_bytes, f"{name} parameters"
    )
    if product.tail.table is not None:
        yield load_entries(config, "tbl", product.tail.table, state.table, 1, 1, 256, f"{name} table")
    if product.zero_right:
        count = state.depth * len(_negated(product.zero_right))
        size = count * config.wgt_entry_bytes
        yield load_entries(config, "wgt", product.corrections, state.corrections, count, 1, size, f"{name} zero point")
    for base, value in zip(state.ones, product.constants, strict=True):
        box = Box(product.left.offset, base, 0, ((0, 0, 0),))
        yield load_box(config, box, Padding(right=state.depth, bottom=1, value=value), state.depth, f"{name} constant")


def entry_loads(
    source: Placed, group: int, first: int, count: int, blocks: tuple[int, int], base: int, config: Config, name: str
) -> Iterator[Operation]:
    """Load rows of a matrix as weight entries, `[entry][channel block]`.

    Parameters
    ----------
    source : Placed
        A stack of matrices.
    group : int
        Which matrix.
    first, count : int
        Entries of `block_out` rows; the last may reach beyond the matrix.
    blocks : pair of int
        First channel block and how many.
    base : int
        First entry in `wgt`.
    """
    layout, size = source.layout, config.wgt_entry_bytes
    for block in range(blocks[1]):
        start = source.offset + (group * layout.blocks + blocks[0] + block) * layout.plane * config.row_bytes
        operands = {
            "dram_base": start + first * size, "base": (base + block) % config.wgt_depth, "extent_run": 1,
            "extent0": count, "dram_stride0": size, "stride0": blocks[1],
        }  # fmt: skip
        read: Span = ("dram", start + first * size, count * size)
        written: Span = ("wgt", base % config.wgt_depth, count * blocks[1])
        yield Operation("LOAD_WGT", Engine.LOAD, operands, (read,), (written,), label=f"{name} weights")


def matrix_box(
    placed: Placed, group: int, blocks: tuple[int, int], rows: tuple[int, int], base: int, config: Config
) -> Box:
    """The box of some channel blocks and rows (first and count of each) of a matrix, densely at `base` in `act`."""
    layout, row_bytes = placed.layout, config.row_bytes
    first = (group * layout.blocks + blocks[0]) * layout.plane + rows[0]
    return Box(placed.offset + first * row_bytes, base, rows[1], [(blocks[1], layout.plane * row_bytes, rows[1])])


def _shared_residual(state: _State, place: _Place) -> Iterator[Operation]:
    product = state.product
    if product.tail.residual is None or not product.has_shared_residual:
        return
    base = state.shared.at(place.number)
    box = matrix_box(product.tail.residual, 0, (place.block, place.blocks), (0, 1), base, state.config)
    yield load_box(state.config, box, Padding(), place.blocks, f"{product.name} residual")


def _correction(state: _State, place: _Place) -> Iterator[Operation]:
    """Yield the instructions that leave `-zero_left` times the sums of the right matrix's rows in `acc`."""
    count = place.blocks * state.config.sub_out
    sums: Span = ("acc", place.sums, count)
    for index, base in enumerate(state.ones):
        tile = ConvTile(
            Grid(state.depth, 1, 1), Grid(count, 1, 1), state.depth, count, 1, 1, finish=Finish(accumulate=index > 0)
        )
        placement = {
            "x": base % state.config.act_rows * state.config.ratio, "w": place.weights, "y": place.sums,
            "addend": place.sums,
        }  # fmt: skip
        reads: list[Span] = [("act", base, state.depth), ("wgt", place.weights, count * state.depth)]
        for name, operands in state.tiles.calls(tile, placement):
            label = f"{state.product.name} zero point"
            yield Operation(name, Engine.COMPUTE, operands, (*reads, *([sums] if index else [])), (sums,), label=label)


def _step(state: _State, step: Step, place: _Place, row: int, rows: int, index: int) -> Step:
    product, config = state.product, state.config
    source, target = state.left.at(index), state.out.at(index)
    box = matrix_box(product.left, place.group, (0, state.depth), (row, rows), source, config)
    step.loads.append(load_box(config, box, Padding(), state.depth * rows, f"{product.name} input"))
    out = matrix_box(product.target, place.group, (place.block, place.blocks), (row, rows), target, config)
    if product.tail.residual is not None and not product.has_shared_residual:
        added = matrix_box(product.tail.residual, place.group, (place.block, place.blocks), (row, rows), target, config)
        step.loads.append(load_box(config, added, Padding(), place.blocks * rows, f"{product.name} residual"))
    step.computes += _computes(state, place, rows, index)
    step.stores.append(store_box(config, out, place.blocks * rows, product.name))
    return step


def _computes(state: _State, place: _Place, rows: int, index: int) -> Iterator[Operation]:
    """Yield the instructions of a tile; a residual beside common sums is added by an instruction of its own."""
    product, config = state.product, state.config
    tail, count = product.tail, place.blocks * state.config.sub_out
    source, target, raw = state.left.at(index), state.out.at(index), state.raw.at(index) % config.acc_depth
    is_shared, is_split = product.has_shared_residual, product.is_split
    base = state.shared.at(place.number) if is_shared else target
    written: Span = ("act", target % config.act_rows, place.blocks * rows)
    added: Span = ("act", base % config.act_rows, place.blocks * (1 if is_shared else rows))
    sums: Span = ("acc", place.sums, count)
    finish = Finish(
        tail.epilogue, bias=True, table=tail.table is not None, shared_parameters=True, shared_residual=is_shared
    )
    ending: list[Span] = [("prm", state.parameters, 1)]
    ending += [("tbl", state.table, 1)] if tail.table is not None else []
    ending += [added] if tail.residual is not None else []
    grids = (Grid(state.depth, 1, rows), Grid(count, 1, rows) if is_split else Grid(place.blocks, 1, rows))
    tile = ConvTile(
        *grids, state.depth, count, 1, rows,
        finish=Finish(accumulate=bool(state.ones), shared_addend=bool(state.ones)) if is_split
        else Finish(**{**vars(finish), "accumulate": bool(state.ones), "shared_addend": bool(state.ones)}),
    )  # fmt: skip
    placement = {
        "x": source % config.act_rows * config.ratio, "w": place.weights, "p": state.parameters, "table": state.table,
        "addend": place.sums, "residual": base % config.act_rows * config.ratio,
        "y": raw if is_split else target % config.act_rows * config.ratio,
    }  # fmt: skip
    reads: list[Span] = [
        ("act", source % config.act_rows, state.depth * rows), ("wgt", place.weights, count * state.depth),
        *([sums] if state.ones else []), *([] if is_split else ending),
    ]  # fmt: skip
    writes: Span = ("acc", raw, count * rows) if is_split else written
    for name, operands in state.tiles.calls(tile, placement):
        yield Operation(name, Engine.COMPUTE, operands, tuple(reads), (writes,), label=product.name)
    if is_split:
        yield from _right_correction(state, tile, placement, writes, reads[0])
        last = VectorTile(
            state.vector_sum, grids[1], Grid(place.blocks, 1, rows), count, 1, rows, from_acc=True, finish=finish
        )
        placement |= {"x": raw, "y": target % config.act_rows * config.ratio}
        for name, operands in state.tiles.calls(last, placement):
            yield Operation(
                name, Engine.COMPUTE, operands, (writes, *ending), (written,), label=f"{product.name} residual"
            )


def _right_correction(
    state: _State, whole: ConvTile, placement: dict[str, int], sums: Span, given: Span
) -> Iterator[Operation]:
    """Yield the instructions that add `-zero_right` times the sum of each row of the left matrix."""
    tile = replace(whole, has_shared_weights=True, finish=Finish(accumulate=True))
    for part in range(len(_negated(state.product.zero_right))):
        first = (state.corrections + part * state.depth) % state.config.wgt_depth
        reads: tuple[Span, ...] = (given, ("wgt", first, state.depth), sums)
        for name, operands in state.tiles.calls(tile, {**placement, "w": first, "addend": placement["y"]}):
            label = f"{state.product.name} zero point"
            yield Operation(name, Engine.COMPUTE, operands, reads, (sums,), label=label)
