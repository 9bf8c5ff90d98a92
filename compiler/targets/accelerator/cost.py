"""An analytic estimate of a tiled layer's cycles: compute against bus, start-up and tail."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.accelerator.problem import Problem, Tiling, chunk_entries, reductions
from tilewright.isa.config import Config

#: Cycles from the start of a load instruction to its first data, about; as much again for a store's response.
LATENCY_CYCLES = 40
#: Cycles lost between compute instructions.
GAP_CYCLES = 2
#: Cycles lost when a compute instruction waits for its predecessors' results.
FENCE_CYCLES = 30
#: Cycles of a DMA engine for each run or instruction, beside its beats.
RUN_CYCLES = 1


@dataclass(frozen=True)
class Cost:
    """Cycles of a layer by cause, and bytes moved.

    Attributes
    ----------
    compute, load, store : int
        Cycles for which each engine is busy.
    exposed : int
        Cycles before the first compute instruction and after the last.
    cycles : int
        The estimate of the whole.
    """

    compute: int
    load: int
    store: int
    exposed: int
    cycles: int


def estimate(problem: Problem, tiling: Tiling, config: Config) -> Cost:
    """Estimate the cycles of a problem that is cut in a certain way."""
    sub_out = config.lanes // config.gemm.block_out
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    entry_cycles = max(1, config.wgt_entry_bytes // config.bus_bytes)
    prm_cycles = max(1, config.prm_entry_bytes // config.bus_bytes)
    co_groups = -(-problem.out_blocks // tiling.out_blocks)
    chunks = reductions(problem, tiling)
    tiles = problem.groups * tiling.tiles

    in_blocks = problem.span if tiling.is_input_resident else problem.in_blocks(tiling.out_blocks, problem.span)
    in_times = 1 if tiling.is_input_resident else co_groups
    columns = min(problem.in_columns(tiling.width), problem.in_width) * len(tiling.widths)
    run = RUN_CYCLES + columns * row_cycles
    tile_rows = sum(min(problem.in_rows(h), problem.in_height) for h in tiling.heights)
    load_in = problem.groups * in_times * in_blocks * tile_rows * run
    weights = problem.co_count * problem.span * problem.taps(config) * entry_cycles
    load_weights = weights * (1 if tiling.is_weight_resident else tiles)
    load_prm = problem.co_count * prm_cycles * (1 if tiling.is_parameter_resident else tiles)
    out_rows = problem.groups * problem.out_blocks * problem.out_height * problem.out_width
    load = load_in + load_weights + load_prm + out_rows * row_cycles * problem.has_residual
    load += tiles * co_groups * chunks * 4
    store = out_rows * row_cycles + tiles * co_groups * 4

    # Each output column and row split adds no steps of the array, only instructions.
    instructions = tiles * co_groups * chunks * sub_out
    fences = tiles * co_groups * (chunks - 1)
    if problem.has_residual and chunks > 1:  # the residual is added by instructions of its own
        out_rows_compute = problem.groups * problem.co_count * problem.out_height * problem.out_width
        fences += tiles * co_groups
    else:
        out_rows_compute = 0
    compute = problem.steps(config) + instructions * GAP_CYCLES + fences * FENCE_CYCLES + out_rows_compute

    first_rows = problem.in_rows(tiling.heights[0]) * problem.in_columns(tiling.widths[0])
    first_in = (in_blocks if chunks == 1 else tiling.blocks) * first_rows * row_cycles
    first_weights = -(-weights // (co_groups * chunks))
    start = first_in + first_weights + prm_cycles + LATENCY_CYCLES
    last_blocks = problem.out_blocks - (co_groups - 1) * tiling.out_blocks
    tail = last_blocks * tiling.heights[-1] * tiling.widths[-1] * row_cycles + LATENCY_CYCLES

    body = max(compute, load - first_in - first_weights, store - tail)
    stalls = 0
    if tiling.in_slots < 2:  # a tile's input is loaded only when the previous tile is computed
        stalls += (tiles * in_times - 1) * min(compute, load - load_weights) // (tiles * in_times)
    if not tiling.is_weight_resident and 2 * chunk_entries(problem, tiling, config) > config.wgt_depth:
        stalls += min(compute, load_weights)
    return Cost(compute, load, store, start + tail, start + body + tail + stalls)
