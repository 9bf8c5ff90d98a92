"""A convolution or matrix product as steps: loads, GEMM instructions and stores of its tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.nests import ConvTile, Finish, Grid, TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.patches import Patch, clip, patches
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.problem import (
    Problem,
    Tiling,
    chunk_list,
    in_slot_rows,
    out_slot_rows,
)
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads, Slots
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.vector_ops import VectorOp

Chunk = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Convolution:
    """A problem with the places of its operands.

    Attributes
    ----------
    problem : Problem
    source, target : Placed
        Input and output; their layouts give the strides in DRAM.
    source_block, target_block : int
        Where the problem's blocks begin in the tensors.
    weights : int
        First byte of the weight entries.
    tail : Tail
        Its parameters begin with the problem's first output block.
    zero_in : int
        What padding holds.
    name : str
    """

    problem: Problem
    source: Placed
    target: Placed
    source_block: int
    target_block: int
    weights: int
    tail: Tail
    zero_in: int
    name: str


@dataclass
class _Lowering:
    """The state of lowering one convolution."""

    config: Config
    conv: Convolution
    tiling: Tiling
    in_slots: Slots
    out_slots: Slots
    pads: Scratchpads
    tiles: TileTensorizer
    vector_sum: VectorOp
    tiles_of: dict[tuple[int | bool, ...], ConvTile] = field(default_factory=dict)
    weights_at: dict[tuple[int, Chunk], int] = field(default_factory=dict)
    parameters_at: dict[int, int] = field(default_factory=dict)
    inputs: int = 0
    outputs: int = 0
    in_base: int = 0
    sums: int = 0
    table: int = -1


def convolution_steps(
    conv: Convolution, tiling: Tiling, pads: Scratchpads, tiles: TileTensorizer, vector_sum: VectorOp
) -> Iterator[Step]:
    """Yield the steps of a convolution: images, spatial tiles, groups of output blocks, pieces of the reduction.

    Parameters
    ----------
    conv, tiling
    pads
        The scratchpads as earlier layers leave them.
    tiles
        Turns computations into instructions.
    vector_sum
        The vector operation that ends sums to which a residual is added.
    """
    config = tiles.config
    in_slots = pads.slots(in_slot_rows(conv.problem, tiling), tiling.in_slots)
    out_slots = pads.slots(out_slot_rows(conv.problem, tiling), tiling.out_slots)
    state = _Lowering(config, conv, tiling, in_slots, out_slots, pads, tiles, vector_sum)
    chunks = chunk_list(conv.problem, tiling)
    for patch in patches(conv.problem, tiling, conv.source.resident, conv.target.resident):
        for block in range(0, conv.problem.out_blocks, tiling.out_blocks):
            blocks = min(tiling.out_blocks, conv.problem.out_blocks - block)
            for index, chunk in enumerate(chunks):
                yield _step(state, patch, block, blocks, chunk, (index == 0, index == len(chunks) - 1))


def _step(state: _Lowering, patch: Patch, block: int, blocks: int, chunk: Chunk, ends: tuple[bool, bool]) -> Step:
    is_first, is_last = ends
    step = Step()
    co_first = block * state.config.sub_out
    co_count = min((block + blocks) * state.config.sub_out, state.conv.problem.co_count) - co_first
    if is_first:
        state.outputs += 1
        step.loads += _tail_loads(state, block, co_first, co_count)
        if not is_last:
            state.sums = state.pads.acc.take(co_count * patch.plane)
    weights = _weights(state, step, block, co_first, co_count, chunk)
    source = _source(state, step, patch, block, blocks, chunk)
    target = _target(state, patch, block)
    if is_first and state.conv.tail.residual is not None:
        placed = state.conv.tail.residual
        box = _out_box(state, placed, patch, block, blocks, target)
        load = load_box(state.config, box, Padding(), blocks * patch.plane, f"{state.conv.name} residual")
        load.writes = patch.out_spans(target, blocks, state.config)
        step.loads.append(load)
    step.computes += _computes(state, patch, block, blocks, chunk, ends, co_count, source, weights, target)
    if is_last and state.conv.target.is_stored:
        box = _out_box(state, state.conv.target, patch, block, blocks, target)
        store = store_box(state.config, box, blocks * patch.plane, state.conv.name)
        store.reads = patch.out_spans(target, blocks, state.config)
        step.stores.append(store)
    return step


def _target(state: _Lowering, patch: Patch, block: int) -> int:
    """The row of `act` where a step's output begins."""
    resident = state.conv.target.resident
    if resident is None:
        return state.out_slots.at(state.outputs)
    return resident.at(state.conv.target_block + block, patch.row, patch.column)


def _tail_loads(state: _Lowering, block: int, co_first: int, co_count: int) -> Iterator[Operation]:
    """Load parameter entries, and the table once."""
    config, tail = state.config, state.conv.tail
    if tail.table is not None and state.table < 0:
        state.table = state.pads.tbl.take(1)
        yield load_entries(config, "tbl", tail.table, state.table, 1, 1, 256, f"{state.conv.name} table")
    if block not in state.parameters_at or not state.tiling.is_parameter_resident:
        state.parameters_at[block] = state.pads.prm.take(co_count)
        size = config.prm_entry_bytes
        yield load_entries(
            config, "prm", tail.parameters + co_first * size, state.parameters_at[block], co_count, 1,
            co_count * size, f"{state.conv.name} parameters",
        )  # fmt: skip


def _chunk_run(state: _Lowering, chunk: Chunk) -> int:
    """Weight entries of one co block in a piece of the reduction."""
    return chunk[1] * chunk[3] * chunk[5] * state.config.sub_in


def _weights(state: _Lowering, step: Step, block: int, co_first: int, co_count: int, chunk: Chunk) -> int:
    """Load the weights of a step where they are not there yet; return their first entry."""
    key = (block, chunk)
    if state.tiling.is_weight_resident and key in state.weights_at:
        return state.weights_at[key]
    config, problem = state.config, state.conv.problem
    run = _chunk_run(state, chunk)
    base = state.weights_at[key] = state.pads.wgt.take(co_count * run)
    taps = problem.taps(config)
    per_co = problem.span * taps
    first = chunk[0] * taps + (chunk[2] * problem.kernel[1] + chunk[4]) * state.config.sub_in
    size = config.wgt_entry_bytes
    step.loads.append(
        load_entries(
            config, "wgt", state.conv.weights + (co_first * per_co + first) * size, base, run, co_count,
            per_co * size, f"{state.conv.name} weights",
        )
    )  # fmt: skip
    return base


def _source(state: _Lowering, step: Step, patch: Patch, block: int, blocks: int, chunk: Chunk) -> int:
    """Load the input of a step where it is not there yet; return the row where its first block begins."""
    is_window_start = chunk[2] == 0 and chunk[4] == 0
    resident, problem = state.conv.source.resident, state.conv.problem
    if resident is not None:
        row, column = (
            patch.row * problem.strides[0] - problem.pads[0],
            patch.column * problem.strides[1] - problem.pads[1],
        )
        return resident.at(state.conv.source_block + chunk[0], row, column)
    if state.tiling.is_input_resident:
        if block == 0 and chunk[0] == 0 and is_window_start:
            state.inputs += 1
            state.in_base = state.in_slots.at(state.inputs)
        base = state.in_base + chunk[0] * patch.in_plane
        if block == 0 and is_window_start:
            step.loads.append(_load_input(state, patch, chunk[0], chunk[1], base))
        return base
    if is_window_start:
        state.inputs += 1
        state.in_base = state.in_slots.at(state.inputs)
        first = block * state.conv.problem.step + chunk[0]
        count = state.conv.problem.in_blocks(blocks, chunk[1])
        step.loads.append(_load_input(state, patch, first, count, state.in_base))
    return state.in_base


def _load_input(state: _Lowering, patch: Patch, block: int, blocks: int, base: int) -> Operation:
    """Load `blocks` blocks of a patch's input from `block` on, padded where it reaches over the border."""
    config, conv, problem = state.config, state.conv, state.conv.problem
    step = problem.strides[0] if problem.skips_rows else 1
    top = patch.row * problem.strides[0] - problem.pads[0]
    left = patch.column * problem.strides[1] - problem.pads[1]
    pad_top, rows, pad_bottom = clip(top, patch.in_rows, ceil_div(problem.in_height - top, step))
    pad_left, columns, pad_right = clip(left, patch.in_columns, problem.in_width - left)
    layout = conv.source.layout
    width, plane = problem.in_width, layout.plane
    first = (patch.image * layout.blocks + conv.source_block + block) * plane
    first += max(top, 0) * width + max(left, 0)
    if not (rows and columns):
        first, rows, columns = 0, 0, 0
        pad_top, pad_bottom, pad_left, pad_right = 0, patch.in_rows, 0, patch.in_columns
    row_bytes = config.row_bytes
    loops = [(rows, step * width * row_bytes, patch.in_columns), (blocks, plane * row_bytes, patch.in_plane)]
    box = Box(conv.source.offset + first * row_bytes, base, columns, loops)
    padding = Padding(pad_top, pad_bottom, pad_left, pad_right, conv.zero_in)
    return load_box(config, box, padding, blocks * patch.in_plane, f"{conv.name} input")


def _out_box(state: _Lowering, placed: Placed, patch: Patch, block: int, blocks: int, base: int) -> Box:
    """The box of an output tile in a tensor of the output's shape."""
    layout, row_bytes = placed.layout, state.config.row_bytes
    width, plane = state.conv.problem.out_width, layout.plane
    first = (patch.image * layout.blocks + state.conv.target_block + block) * plane + patch.row * width + patch.column
    loops = [(patch.rows, width * row_bytes, patch.out_columns), (blocks, plane * row_bytes, patch.out_plane)]
    return Box(placed.offset + first * row_bytes, base, patch.columns, loops)


def _computes(
    state: _Lowering, patch: Patch, block: int, blocks: int, chunk: Chunk, ends: tuple[bool, bool],
    co_count: int, source: int, weights: int, target: int,
) -> Iterator[Operation]:  # fmt: skip
    """Yield the instructions of a step: whole rows of co blocks, then those of a last row that is not full."""
    whole = co_count // state.config.sub_out * state.config.sub_out
    for first, count in ((0, whole), (whole, co_count - whole)):
        if count:
            place = _Place(
                source=source,
                weights=weights + first * _chunk_run(state, chunk),
                parameters=state.parameters_at[block] + first,
                target=target + first // state.config.sub_out * patch.out_plane,
                sums=state.sums + first * patch.plane,
                in_blocks=state.conv.problem.in_blocks(ceil_div(count, state.config.sub_out), chunk[1]),
            )
            if state.conv.problem.step:
                place = replace(place, source=source + first // state.config.sub_out * patch.in_plane)
            yield from _tile_operations(state, patch, blocks, chunk, ends, count, place)


@dataclass(frozen=True)
class _Place:
    """Where the operands of a compute tile begin: rows of `act`, entries of the others; and its blocks of input."""

    source: int
    weights: int
    parameters: int
    target: int
    sums: int
    in_blocks: int


def _tile_operations(
    state: _Lowering, patch: Patch, blocks: int, chunk: Chunk, ends: tuple[bool, bool], count: int, place: _Place
) -> Iterator[Operation]:
    """Yield the instructions that compute `count` co blocks of a step."""
    config, conv, tail = state.config, state.conv, state.conv.tail
    is_first, is_last = ends
    ratio, positions = config.ratio, count * patch.plane
    target = patch.out_spans(place.target, ceil_div(count, state.config.sub_out), config)
    line = patch.in_columns * conv.problem.dilations[0]
    start = place.source + chunk[2] * line + chunk[4] * conv.problem.dilations[1]
    is_split = is_last and not is_first and tail.residual is not None  # one operand b: either the sums or the residual
    finishes = is_last and not is_split
    spans: dict[str, Span] = {
        "sums": ("acc", place.sums % config.acc_depth, positions),
        "p": ("prm", place.parameters % config.prm_depth, count),
        "table": ("tbl", max(state.table, 0), 1),
    }
    placement = {
        "x": start % config.act_rows * ratio,
        "w": place.weights % config.wgt_depth,
        "p": spans["p"][1],
        "addend": spans["sums"][1],
        "table": spans["table"][1],
        "residual": target[0][1] * ratio,
        "y": target[0][1] * ratio if finishes else spans["sums"][1],
    }
    reads: list[Span] = [
        _input_span(state, patch, place),
        ("wgt", placement["w"], count * _chunk_run(state, chunk)),
    ]
    ending = [
        spans["p"],
        *(target if tail.residual is not None else []),
        *([spans["table"]] if tail.table is not None else []),
    ]
    reads += [] if is_first else [spans["sums"]]
    reads += ending if finishes else []
    writes = target if finishes else (spans["sums"],)
    key = (patch.rows, patch.columns, blocks, chunk[1], chunk[3], chunk[5], is_first, finishes, count)
    tile = state.tiles_of.get(key)
    if tile is None:
        tile = state.tiles_of[key] = _conv_tile(state, patch, blocks, chunk, count, is_first, finishes)
    for name, operands in state.tiles.calls(tile, placement):
        yield Operation(name, Engine.COMPUTE, operands, tuple(reads), writes, label=conv.name)
    if is_split:
        grid = Grid(count, patch.rows, patch.columns)
        last = VectorTile(
            state.vector_sum, grid, Grid(blocks, patch.out_rows, patch.out_columns), count, patch.rows, patch.columns,
            from_acc=True, finish=_finish(state),
        )  # fmt: skip
        placement |= {"x": spans["sums"][1], "y": target[0][1] * ratio}
        for name, operands in state.tiles.calls(last, placement):
            read = (spans["sums"], *ending)
            yield Operation(name, Engine.COMPUTE, operands, read, target, label=f"{conv.name} residual")


def _input_span(state: _Lowering, patch: Patch, place: _Place) -> Span:
    resident = state.conv.source.resident
    if resident is not None:
        return ("act", resident.base % state.config.act_rows, resident.grid.size)
    return ("act", place.source % state.config.act_rows, place.in_blocks * patch.in_plane)


def _finish(state: _Lowering) -> Finish:
    tail = state.conv.tail
    return Finish(tail.epilogue, bias=True, table=tail.table is not None)


def _conv_tile(
    state: _Lowering, patch: Patch, blocks: int, chunk: Chunk, count: int, is_first: bool, finishes: bool
) -> ConvTile:
    """Describe a step's computation."""
    problem = state.conv.problem
    finish = replace(_finish(state), accumulate=not is_first) if finishes else Finish(accumulate=not is_first)
    return ConvTile(
        x=Grid(problem.in_blocks(blocks, chunk[1]), patch.in_rows, patch.in_columns),
        y=Grid(blocks, patch.out_rows, patch.out_columns) if finishes else Grid(count, patch.rows, patch.columns),
        in_blocks=chunk[1] * state.config.sub_in,
        out_blocks=count,
        rows=patch.rows,
        columns=patch.columns,
        kernel=(chunk[3], chunk[5]),
        stride=(problem.row_stride, problem.strides[1]),
        dilation=problem.dilations,
        finish=finish,
        is_diagonal=problem.step > 0,
    )
