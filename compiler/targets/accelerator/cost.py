"""An analytic estimate of a tiled layer's cycles: loads of successive tiles against their compute, start-up, tail."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tilewright.compiler.targets.accelerator.candidates import (
    NO_TILE,
    Candidates,
    Cuts,
    Numbers,
    all_weights,
    cut_of,
)
from tilewright.compiler.targets.accelerator.problem import Problem, Tiling
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

    @property
    def objective(self) -> int:
        """Cycles, and a little for the bus, which other layers and other users of the memory want."""
        return self.cycles + (self.load + self.store) // 64


@dataclass(frozen=True)
class Costs:
    """Costs of many tilings, an array for each field of `Cost`."""

    compute: Numbers
    load: Numbers
    store: Numbers
    cycles: Numbers

    @property
    def objective(self) -> Numbers:
        """See `Cost.objective`."""
        return self.cycles + (self.load + self.store) // 64

    def at(self, place: int) -> Cost:
        """Return one of them."""
        return Cost(*(int(array[place]) for array in (self.compute, self.load, self.store, self.cycles)))


@dataclass(frozen=True)
class _Tiles:
    """Cycles of spatial tiles, by kind and tiling: compute, all loads, and what must be loaded before they start."""

    compute: Numbers
    loads: Numbers
    first: Numbers


def estimate(problem: Problem, tiling: Tiling, config: Config) -> Cost:
    """Estimate the cycles of a problem that is cut in a certain way."""
    cuts = Cuts.of([cut_of(tiling.heights, tiling.widths)])
    return estimates(Candidates.of(problem, [tiling], config), cuts).at(0)


def estimates(candidates: Candidates, cuts: Cuts) -> Costs:
    """Estimate the cycles of a problem that is cut in many ways; `cuts` has an entry for each candidate."""
    problem, config = candidates.problem, candidates.config
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    co_groups = candidates.co_groups
    tiles = _tiles(candidates, cuts)
    out_rows = problem.groups * problem.out_blocks * problem.out_height * problem.out_width
    store = problem.is_stored * out_rows * row_cycles + problem.groups * cuts.tiles * co_groups * BOX_CYCLES
    last_blocks = problem.out_blocks - (co_groups - 1) * candidates.out_blocks
    tail = problem.is_stored * last_blocks * cuts.last * row_cycles + LATENCY_CYCLES

    end = FETCH_CYCLES + LATENCY_CYCLES + _pipeline(candidates, cuts, tiles)
    compute, load = ((cuts.counts * cycles).sum(axis=0) for cycles in (tiles.compute, tiles.loads))
    end += (problem.groups - 1) * np.maximum(compute, load)
    end = np.maximum(end, problem.groups * store)
    # where there is room for the weights of one step only, they cannot be loaded while others are used
    is_serial = ~candidates.is_weight_resident & (2 * candidates.chunk_entries > config.wgt_depth)
    end += is_serial * np.minimum(compute, load)
    return Costs(problem.groups * compute, problem.groups * load, store, end + tail)


def _tiles(candidates: Candidates, cuts: Cuts) -> _Tiles:
    """Work out the tiles of one image."""
    problem, config = candidates.problem, candidates.config
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    chunks, co_groups = candidates.reductions, candidates.co_groups
    steps = co_groups * chunks
    weights = all_weights(problem, config) * max(1, config.wgt_entry_bytes // config.bus_bytes)
    parameters = problem.co_count * max(1, config.prm_entry_bytes // config.bus_bytes)
    is_resident, blocks = candidates.is_input_resident, candidates.blocks
    all_blocks = np.where(is_resident, problem.span, co_groups * candidates.in_blocks(problem.span))
    first_blocks = np.where(is_resident, blocks, candidates.in_blocks(blocks))
    is_split = problem.has_residual & (chunks > 1)  # the residual is added by instructions of its own
    overhead = steps * config.sub_out * GAP_CYCLES
    overhead += co_groups * (chunks - 1 + is_split) * FENCE_CYCLES
    interval = config.epilogue.interval  # the fewest cycles of a result
    reduction = np.maximum(problem.span * problem.taps(config), chunks * interval) + is_split * interval

    is_first = np.arange(len(cuts.heights))[:, None] == 0
    loads_weights = is_first | ~candidates.is_weight_resident
    loads_parameters = is_first | ~candidates.is_parameter_resident
    in_boxes = np.where(is_resident, chunks, steps) * (not problem.keeps_input)
    instructions = steps + in_boxes + co_groups * (problem.is_stored + 2 * problem.has_residual)
    instructions = instructions + loads_weights * steps + loads_parameters * co_groups

    planes = cuts.heights * cuts.widths
    rows = np.minimum(problem.in_rows(cuts.heights), problem.in_height)
    line = RUN_CYCLES + np.minimum(problem.in_columns(cuts.widths), problem.in_width) * row_cycles
    box = rows * line * (not problem.keeps_input)
    others = problem.out_blocks * planes * row_cycles * problem.has_residual + instructions * _fetch_cycles(config)
    others += loads_weights * (weights + steps * BOX_CYCLES)
    others += loads_parameters * (parameters + co_groups * BOX_CYCLES)
    compute = planes * problem.co_count * reduction + overhead
    # the bus never rests, from one layer to the next
    is_prefetched = problem.keeps_input & (2 * candidates.chunk_entries <= config.wgt_depth) & (others >= compute)
    first = first_blocks * box + (loads_weights & ~is_prefetched) * ((weights + parameters) // steps)
    return _Tiles(compute, all_blocks * box + in_boxes * BOX_CYCLES + others, first)


@lru_cache(maxsize=16)
def _fetch_cycles(config: Config) -> int:
    return instruction_set(config).instruction_bytes // config.bus_bytes


def _pipeline(candidates: Candidates, cuts: Cuts, tiles: _Tiles) -> Numbers:
    """When the last tile is computed, its input being loaded while at most `in_slots - 1` earlier ones are computed.

    Its last step comes after its last load; where the output is not stored the next layer's loads hide that.
    """
    most = int(candidates.in_slots.max())
    every = np.arange(len(candidates))
    ends = np.zeros((most + len(cuts.watched), len(candidates)), np.int64)  # before the first: 0
    loaded = np.zeros(len(candidates), np.int64)
    after = tiles.compute // (candidates.co_groups * candidates.reductions) * candidates.problem.is_stored
    for place, kinds in enumerate(cuts.watched, most):
        compute, loads, first, last = (a[kinds, every] for a in (tiles.compute, tiles.loads, tiles.first, after))
        begin = np.maximum(loaded, ends[place - candidates.in_slots, every])
        start = np.maximum(ends[place - 1], begin + first)
        loaded = begin + loads
        end = np.maximum(start + compute, loaded + last)
        ends[place] = np.where(kinds == NO_TILE, ends[place - 1], end)
    skipped: Numbers = (cuts.unwatched * np.maximum(tiles.compute, tiles.loads)).sum(axis=0)
    return np.asarray(ends[-1] + skipped)
