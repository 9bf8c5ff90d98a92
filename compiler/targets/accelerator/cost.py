"""An analytic estimate of a tiled layer's cycles: loads of successive tiles against their compute, start-up, tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from tilewright.compiler.targets.accelerator.problem import Problem, Tiling, chunk_entries, reductions
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set

#: Cycles from the start of a load instruction to its first data, about; as much again for a store's response.
LATENCY_CYCLES = 60
#: Cycles from the start of a program to its first load.
FETCH_CYCLES = 60
#: Cycles lost between compute instructions.
GAP_CYCLES = 1
#: Cycles lost when a compute instruction waits for its predecessors' results.
FENCE_CYCLES = 25
#: Cycles of a DMA engine for each run, and for each instruction, beside its beats.
RUN_CYCLES = 1
BOX_CYCLES = 4
#: Tiles that are looked at one by one; beyond them, those in the middle are taken for equal.
WATCHED_TILES = 10


@dataclass(frozen=True)
class Cost:
    """Cycles of a layer.

    Attributes
    ----------
    compute, load, store : int
        For which each engine is busy.
    cycles : int
        The estimate of the whole, from start to the last response.
    """

    compute: int
    load: int
    store: int
    cycles: int


@dataclass(frozen=True)
class _Tile:
    """Cycles of a spatial tile: its compute, its input, its other loads, and what must be loaded before it starts."""

    compute: int
    inputs: int
    others: int
    first: int


def estimate(problem: Problem, tiling: Tiling, config: Config) -> Cost:
    """Estimate the cycles of a problem that is cut in a certain way."""
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    co_groups = -(-problem.out_blocks // tiling.out_blocks)
    steps = co_groups * reductions(problem, tiling)
    tiles = _tiles(problem, tiling, config, steps)
    out_rows = problem.groups * problem.out_blocks * problem.out_height * problem.out_width
    store = problem.is_stored * out_rows * row_cycles + problem.groups * tiling.tiles * co_groups * BOX_CYCLES
    last_blocks = problem.out_blocks - (co_groups - 1) * tiling.out_blocks
    tail = problem.is_stored * last_blocks * tiling.heights[-1] * tiling.widths[-1] * row_cycles + LATENCY_CYCLES

    end = FETCH_CYCLES + LATENCY_CYCLES + _pipeline(tiles, steps if problem.is_stored else None, tiling.in_slots)
    compute = sum(tile.compute for tile in tiles)
    load = sum(tile.inputs + tile.others for tile in tiles)
    end += (problem.groups - 1) * max(compute, load)
    end = max(end, problem.groups * store)
    if not tiling.is_weight_resident and 2 * chunk_entries(problem, tiling, config) > config.wgt_depth:
        end += min(compute, load)  # weights cannot be loaded while others are used
    return Cost(problem.groups * compute, problem.groups * load, store, end + tail)


def _tiles(problem: Problem, tiling: Tiling, config: Config, steps: int) -> list[_Tile]:
    """Work out the tiles of one image."""
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    entry_cycles = max(1, config.wgt_entry_bytes // config.bus_bytes)
    prm_cycles = max(1, config.prm_entry_bytes // config.bus_bytes)
    fetch_cycles = _fetch_cycles(config)
    chunks = reductions(problem, tiling)
    co_groups = steps // chunks
    sub_out = config.lanes // config.gemm.block_out
    weights = problem.co_count * problem.span * problem.taps(config) * entry_cycles
    parameters = problem.co_count * prm_cycles
    blocks = (
        problem.span if tiling.is_input_resident else co_groups * problem.in_blocks(tiling.out_blocks, problem.span)
    )
    first_blocks = tiling.blocks if tiling.is_input_resident else problem.in_blocks(tiling.out_blocks, tiling.blocks)
    is_split = problem.has_residual and chunks > 1  # the residual is added by instructions of its own
    can_prefetch = problem.keeps_input and 2 * chunk_entries(problem, tiling, config) <= config.wgt_depth
    overhead = steps * sub_out * GAP_CYCLES + co_groups * (chunks - 1 + is_split) * FENCE_CYCLES
    reduction = problem.span * problem.taps(config) + is_split

    def tile(height: int, width: int, is_first: bool) -> _Tile:
        rows = min(problem.in_rows(height), problem.in_height)
        line = RUN_CYCLES + min(problem.in_columns(width), problem.in_width) * row_cycles
        inputs = blocks * rows * line + BOX_CYCLES * (chunks if tiling.is_input_resident else steps)
        inputs *= not problem.keeps_input
        others = problem.out_blocks * height * width * row_cycles * problem.has_residual
        others += _instructions(problem, tiling, steps, is_first) * fetch_cycles
        others += weights + steps * BOX_CYCLES if is_first or not tiling.is_weight_resident else 0
        others += parameters + co_groups * BOX_CYCLES if is_first or not tiling.is_parameter_resident else 0
        first = first_blocks * rows * line * (not problem.keeps_input)
        compute = height * width * problem.co_count * reduction + overhead
        is_prefetched = can_prefetch and others >= compute  # the bus never rests, from one layer to the next
        if not is_prefetched and (is_first or not tiling.is_weight_resident):
            first += (weights + parameters) // steps
        return _Tile(compute, inputs, others, first)

    sizes = list(product(tiling.heights, tiling.widths))
    alike = {size: tile(*size, False) for size in set(sizes[1:])}  # there are few sizes and many tiles
    return [tile(*sizes[0], True), *(alike[size] for size in sizes[1:])]


@lru_cache(maxsize=16)
def _fetch_cycles(config: Config) -> int:
    return instruction_set(config).instruction_bytes // config.bus_bytes


def _instructions(problem: Problem, tiling: Tiling, steps: int, is_first: bool) -> int:
    """Instructions of a spatial tile, which are read over the same bus."""
    chunks = reductions(problem, tiling)
    co_groups = steps // chunks
    weights = steps if is_first or not tiling.is_weight_resident else 0
    parameters = co_groups if is_first or not tiling.is_parameter_resident else 0
    inputs = 0 if problem.keeps_input else chunks if tiling.is_input_resident else steps
    results = co_groups * (problem.is_stored + 2 * problem.has_residual)
    return steps + weights + parameters + inputs + results


def _pipeline(tiles: Sequence[_Tile], steps: int | None, in_slots: int) -> int:
    """When the last tile is computed, its input being loaded while at most `in_slots - 1` earlier ones are computed.

    Its last of so many steps comes after its last load; where `steps` is None the next layer's loads hide that.
    """
    ends: list[int] = []
    load_end = 0
    skipped = 0
    for index, tile in enumerate(tiles):
        if len(tiles) > WATCHED_TILES and WATCHED_TILES // 2 <= index < len(tiles) - WATCHED_TILES // 2:
            skipped += max(tile.compute, tile.inputs + tile.others)
            continue
        free = ends[-in_slots] if len(ends) >= in_slots else 0
        begin = max(load_end, free)
        start = max(ends[-1] if ends else 0, begin + tile.first)
        load_end = begin + tile.inputs + tile.others
        ends.append(max(start + tile.compute, load_end + (tile.compute // steps if steps else 0)))
    return ends[-1] + skipped
