"""A convolution or matrix product as steps: loads, GEMM instructions and stores of its tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.operations import Operation, Step
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


@dataclass(frozen=True)
class Patch:
    """A spatial tile: output rows and columns, and the loaded input that they need."""

    image: int
    row: int
    rows: int
    column: int
    columns: int
    in_rows: int
    in_columns: int

    @property
    def plane(self) -> int:
        """Rows of `act` that one block of output takes."""
        return self.rows * self.columns

    @property
    def in_plane(self) -> int:
        """Rows of `act` that one block of input takes."""
        return self.in_rows * self.in_columns


@dataclass
class _Lowering:
    """The state of lowering one convolution."""

    config: Config
    conv: Convolution
    tiling: Tiling
    in_slots: Slots
    out_slots: Slots
    pads: Scratchpads
    weights_at: dict[tuple[int, Chunk], int] = field(default_factory=dict)
    parameters_at: dict[int, int] = field(default_factory=dict)
    inputs: int = 0
    outputs: int = 0
    in_base: int = 0
    table: int = -1

    @property
    def sub_in(self) -> int:
        return self.config.lanes // self.config.gemm.block_in

    @property
    def sub_out(self) -> int:
        return self.config.lanes // self.config.gemm.block_out


def convolution_steps(conv: Convolution, tiling: Tiling, pads: Scratchpads, config: Config) -> Iterator[Step]:
    """Yield the steps of a convolution: images, spatial tiles, groups of output blocks, pieces of the reduction."""
    in_slots = pads.slots(in_slot_rows(conv.problem, tiling), tiling.in_slots)
    out_slots = pads.slots(out_slot_rows(tiling), tiling.out_slots)
    state = _Lowering(config, conv, tiling, in_slots, out_slots, pads)
    chunks = chunk_list(conv.problem, tiling)
    for patch in patches(conv.problem, tiling):
        for block in range(0, conv.problem.out_blocks, tiling.out_blocks):
            blocks = min(tiling.out_blocks, conv.problem.out_blocks - block)
            for index, chunk in enumerate(chunks):
                yield _step(state, patch, block, blocks, chunk, (index == 0, index == len(chunks) - 1))


def patches(problem: Problem, tiling: Tiling) -> Iterator[Patch]:
    """Yield the spatial tiles of all images."""
    for image in range(problem.groups):
        row = 0
        for rows in tiling.heights:
            column = 0
            for columns in tiling.widths:
                yield Patch(image, row, rows, column, columns, problem.in_rows(rows), problem.in_columns(columns))
                column += columns
            row += rows


def _step(state: _Lowering, patch: Patch, block: int, blocks: int, chunk: Chunk, ends: tuple[bool, bool]) -> Step:
    is_first, is_last = ends
    step = Step()
    co_first = block * state.sub_out
    co_count = min((block + blocks) * state.sub_out, state.conv.problem.co_count) - co_first
    if is_first:
        state.outputs += 1
        step.loads += _tail_loads(state, block, co_first, co_count)
    weights = _weights(state, step, block, co_first, co_count, chunk)
    source = _source(state, step, patch, block, blocks, chunk)
    target = state.out_slots.at(state.outputs)
    if is_first and state.conv.tail.residual is not None:
        placed = state.conv.tail.residual
        box = _out_box(state, placed, patch, block, blocks, target)
        step.loads.append(load_box(state.config, box, Padding(), blocks * patch.plane, f"{state.conv.name} residual"))
    for sub in range(min(state.sub_out, co_count)):
        step.computes.append(_gemm(state, patch, block, blocks, chunk, ends, sub, co_count, source, weights, target))
    if is_last:
        box = _out_box(state, state.conv.target, patch, block, blocks, target)
        step.stores.append(store_box(state.config, box, blocks * patch.plane, state.conv.name))
    return step


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
    return chunk[1] * chunk[3] * chunk[5] * state.sub_in


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
    first = chunk[0] * taps + (chunk[2] * problem.kernel[1] + chunk[4]) * state.sub_in
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


def clip(start: int, count: int, end: int) -> tuple[int, int, int]:
    """Split `count` positions from `start` on into those before 0, those inside and those beyond.

    `end` is how many positions from `start` on the last one inside lies; `start` may be negative.
    """
    before = min(max(-start, 0), count)
    inside = max(min(count, end) - before, 0)
    return before, inside, count - before - inside


def _out_box(state: _Lowering, placed: Placed, patch: Patch, block: int, blocks: int, base: int) -> Box:
    """The box of an output tile in a tensor of the output's shape."""
    layout, row_bytes = placed.layout, state.config.row_bytes
    width, plane = state.conv.problem.out_width, layout.plane
    first = (patch.image * layout.blocks + state.conv.target_block + block) * plane + patch.row * width + patch.column
    loops = [(patch.rows, width * row_bytes, patch.columns), (blocks, plane * row_bytes, patch.plane)]
    return Box(placed.offset + first * row_bytes, base, patch.columns, loops)


def _gemm(
    state: _Lowering, patch: Patch, block: int, blocks: int, chunk: Chunk, ends: tuple[bool, bool],
    sub: int, co_count: int, source: int, weights: int, target: int,
) -> Operation:  # fmt: skip
    """One GEMM instruction: every `sub_out`-th co block of a step, beginning with the `sub`-th."""
    config, conv, problem = state.config, state.conv, state.conv.problem
    is_first, is_last = ends
    ratio, run = config.ratio, _chunk_run(state, chunk)
    count = ceil_div(co_count - sub, state.sub_out)
    line = patch.in_columns * ratio
    start = source * ratio + (chunk[2] * problem.dilations[0] * line) + chunk[4] * problem.dilations[1] * ratio
    parameters = state.parameters_at[block]
    d_base = (target * ratio + sub * (config.gemm.block_out // config.atom)) % config.act_depth
    operands = {
        "extent_out0": count,
        "extent_out1": patch.rows,
        "extent_out2": patch.columns,
        **_reduction_loops(state, patch, chunk),
        "a_base": start % config.act_depth,
        "a_out0": problem.step * patch.in_plane * ratio,
        "a_out1": problem.row_stride * line,
        "a_out2": problem.strides[1] * ratio,
        "w_base": (weights + sub * run) % config.wgt_depth,
        "w_out0": state.sub_out * run,
        "p_base": (parameters + sub) % config.prm_depth,
        "p_out0": state.sub_out,
        "d_base": d_base if is_last else d_base % config.acc_depth,
        "d_out0": patch.plane * ratio,
        "d_out1": patch.columns * ratio,
        "d_out2": ratio,
    }
    reads = [
        ("act", source % config.act_rows, problem.in_blocks(blocks, chunk[1]) * patch.in_plane),
        ("wgt", weights, co_count * run),
    ]
    rows = blocks * patch.plane
    target_span = ("act", target % config.act_rows, rows)
    sums_span = ("acc", d_base % config.acc_depth, count * patch.plane * ratio)
    if not is_first or (is_last and conv.tail.residual is not None):
        operands |= {f"b_{key}": operands[f"d_{key}"] for key in ("out0", "out1", "out2")}
        operands["b_base"] = d_base  # in act; where sums are added too, they lie at the same address modulo their depth
    if not is_first:
        operands["accumulate"] = 1
        reads.append(sums_span)
    if is_last:
        operands |= conv.tail.operands(max(state.table, 0))
        operands["bias_enable"] = 1
        reads.append(("prm", parameters, co_count))
        if conv.tail.residual is not None:
            reads.append(target_span)
        if conv.tail.table is not None:
            reads.append(("tbl", state.table, 1))
    else:
        operands["to_acc"] = 1
    steps = count * patch.plane * chunk[1] * chunk[3] * chunk[5] * state.sub_in
    writes = (target_span if is_last else sums_span,)
    return Operation("GEMM", Engine.COMPUTE, operands, tuple(reads), writes, steps, label=conv.name)


def _reduction_loops(state: _Lowering, patch: Patch, chunk: Chunk) -> dict[str, int]:
    """Extents and strides of the reduction: blocks, kernel rows, kernel columns with the sub blocks of a row."""
    config, problem = state.config, state.conv.problem
    ratio, sub = config.ratio, state.sub_in
    atoms = config.gemm.block_in // config.atom
    _, blocks, _, kh, _, kw = chunk
    dh, dw = problem.dilations
    rows = (kh, dh * patch.in_columns * ratio, kw * sub)
    if sub == 1:
        columns = (kw, dw * ratio, 1)
    elif kw == 1 or dw == 1:
        columns = (kw * sub, atoms, 1)
    else:
        assert kh == 1
        rows, columns = (kw, dw * ratio, sub), (sub, atoms, 1)
    loops = ((blocks, patch.in_plane * ratio, kh * kw * sub), rows, columns)
    result: dict[str, int] = {}
    for i, (extent, a_stride, w_stride) in enumerate(loops):
        result[f"extent_red{i}"] = extent
        result[f"a_red{i}"] = a_stride
        result[f"w_red{i}"] = w_stride
    return result
