"""Chooses how a convolution or matrix product is cut, so that it fits the scratchpads and takes the fewest cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tilewright.compiler.targets.accelerator.candidates import (
    Candidates,
    Cuts,
    Flags,
    Numbers,
    all_weights,
    cut_of,
)
from tilewright.compiler.targets.accelerator.cost import Cost, estimates
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.problem import (
    Problem,
    Tiling,
    chunk_entries,
    in_slot_rows,
    out_slot_rows,
)
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError

#: Slots of a single tile's input and output.
_SINGLE = (1, 2)

#: Slots of input and output, and how many sizes of tiles are tried with them: the largest ones that fit.
_SLOTS = ((2, 2, 6), (1, 2, 4), (1, 1, 2))


@dataclass(frozen=True)
class Choice:
    """A tiling and what it is estimated to cost."""

    tiling: Tiling
    cost: Cost


@lru_cache(maxsize=4096)
def choose_tiling(problem: Problem, config: Config) -> Choice:
    """Return the tiling with the least estimate.

    Raises
    ------
    CapacityError
        When no tile fits, naming the memory, what is needed and what there is.
    """
    ways = _ways(problem, config)
    sizes = np.array(_tile_sizes(problem.out_height, problem.out_width))
    chosen, numbers = np.nonzero(_worth_trying(ways, sizes))
    if not len(chosen):
        raise CapacityError(shortage(problem, config))
    used, places = np.unique(numbers, return_inverse=True)
    pieces = [_pieces(problem, int(height), int(width)) for height, width in sizes[used]]
    costs = estimates(ways.take(chosen), Cuts.of([cut_of(*cut) for cut in pieces]).take(places))
    best = int(costs.objective.argmin())
    heights, widths = pieces[places[best]]
    return _refined(problem, Choice(ways.tiling(int(chosen[best]), heights, widths), costs.at(best)), config)


def shortage(problem: Problem, config: Config) -> str:
    """Say which memory the smallest possible tile exceeds."""
    smallest = _smallest(problem, config)
    rows = in_slot_rows(problem, smallest) + 2 * out_slot_rows(problem, smallest) + problem.reserved_rows
    entries = chunk_entries(problem, smallest, config)
    checks = (
        ("memory.act_kib", rows * config.row_bytes, config.memory.act_kib * 1024),
        ("memory.wgt_kib", entries * config.wgt_entry_bytes, config.memory.wgt_kib * 1024),
        ("memory.prm_entries", config.sub_out * config.prm_entry_bytes,
         config.prm_depth * config.prm_entry_bytes),
    )  # fmt: skip
    for name, needed, available in checks:
        if needed > available:
            return f"the smallest tile needs {needed} bytes of `{name}`, which has {available}"
    return "no tile fits the scratchpads"


def _smallest(problem: Problem, config: Config) -> Tiling:
    return Tiling(
        (1,) * problem.out_height, (1,) * problem.out_width, 1, 1, (1, 1), False, False, False, in_slots=1, out_slots=2
    )


def _ways(problem: Problem, config: Config) -> Candidates:
    """Return all ways to cut the channels, the kernel and the scratchpads; how the image is cut is left open."""
    sub_out = config.sub_out
    fits_twice = problem.co_count + sub_out <= config.prm_depth // 2
    may_stay = all_weights(problem, config) <= config.wgt_depth
    reductions = list(_reduction_cuts(problem, config))
    choices = (
        np.arange(len(reductions)), np.array(_cuts(problem.out_blocks)), np.array([False, True][: 1 + may_stay]),
        np.array(_input_ways(problem)), np.arange(len(_SLOTS)),
    )  # fmt: skip
    reduction, out_blocks, weights, inputs, slots = (a.ravel() for a in np.meshgrid(*choices, indexing="ij"))
    blocks, rows, columns = np.array([(blocks, *kernel) for blocks, kernel in reductions])[reduction].T
    in_slots, out_slots, _ = np.array(_SLOTS)[slots].T
    parameters = np.full(len(slots), fits_twice)
    ways = Candidates(
        problem, config, out_blocks, blocks, rows, columns, inputs, weights, parameters, in_slots, out_slots
    )
    return ways.take((ways.entries <= config.prm_depth) & (ways.chunk_entries <= config.wgt_depth))


def _input_ways(problem: Problem) -> tuple[bool, ...]:
    """Whether a tile's input stays for all its steps."""
    if problem.keeps_input:
        return (True,)
    return (True, False) if problem.step == 0 else (False,)


@lru_cache(maxsize=1024)
def _tile_sizes(out_height: int, out_width: int) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of tiles: whole rows, largest tiles first, then pieces of single rows."""
    whole = [(height, out_width) for height in _cuts(out_height)]
    return (*whole, *((1, width) for width in _cuts(out_width)[1:]))


def _pieces(problem: Problem, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut the output into tiles of at most this size."""
    return evenly(problem.out_height, height), evenly(problem.out_width, width)


def _worth_trying(ways: Candidates, sizes: Numbers) -> Flags:
    """Tell which sizes to try for each way: the largest that fit; pieces of rows only where no whole ones do."""
    problem = ways.problem
    heights, widths = sizes[:, 0], sizes[:, 1]
    is_whole = widths == problem.out_width
    fits = ways.holds(heights[:, None], widths[:, None]).T
    if problem.out_height > 1:
        fits &= is_whole | ~fits[:, is_whole].any(axis=1, keepdims=True)
    most = np.select([(ways.in_slots == a) & (ways.out_slots == b) for a, b, _ in _SLOTS], [n for *_, n in _SLOTS])
    fits &= fits.cumsum(axis=1) <= most[:, None]
    tiles = -(-problem.out_height // heights) * -(-problem.out_width // widths)
    is_single = (problem.groups * tiles == 1) & ways.is_input_resident[:, None]
    is_for_single = (ways.in_slots == _SINGLE[0]) & (ways.out_slots == _SINGLE[1])
    fits &= ~is_single | is_for_single[:, None]
    return fits


def _reduction_cuts(problem: Problem, config: Config) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield blocks and kernel window of a reduction step; the window is cut only where one block alone is too much."""
    kh, kw = problem.kernel
    sub_in = config.sub_in
    if sub_in > 1 and kw > 1 and problem.dilations[1] > 1:
        kh = 1  # kernel columns and sub blocks do not merge into one loop: no loop is left for kernel rows
    if kh == problem.kernel[0]:
        for blocks in _cuts(problem.span):
            yield blocks, (kh, kw)
    else:
        yield 1, (kh, kw)
    sub_out = config.sub_out
    if kh * kw * sub_in * sub_out * 2 > config.wgt_depth:
        if kh > 1:
            yield 1, (1, kw)
        if kw > 1:
            yield 1, (1, 1)


@lru_cache(maxsize=4096)
def _cuts(total: int) -> tuple[int, ...]:
    """Piece sizes that cut `total` into 1, 2, 3, ... nearly equal pieces, without repetition; largest first."""
    sizes = []
    count = 1
    while True:
        size = ceil_div(total, count)
        sizes.append(size)
        if size == 1:
            return tuple(sizes)
        count = max(count + 1, ceil_div(total, size - 1) if size > 2 else total)


@lru_cache(maxsize=65536)
def evenly(total: int, size: int) -> tuple[int, ...]:
    """Cut `total` into the fewest pieces of at most `size`, as equal as possible."""
    count = ceil_div(total, size)
    return tuple((total + i) // count for i in range(count))


def _refined(problem: Problem, choice: Choice, config: Config) -> Choice:
    """Try a smaller first tile, so that compute starts early, and a smaller last one, so that it ends early."""
    tilings = [choice.tiling, *_tapered_tilings(problem, choice.tiling)]
    ways = Candidates.of(problem, tilings, config)
    fits = ways.holds(np.array([t.height for t in tilings]), np.array([t.width for t in tilings]))
    tried = [tiling for tiling, is_held in zip(tilings, fits, strict=True) if is_held]
    costs = estimates(ways.take(fits), Cuts.of([cut_of(tiling.heights, tiling.widths) for tiling in tried]))
    best = int(costs.objective.argmin())
    return Choice(tried[best], costs.at(best))


def _tapered_tilings(problem: Problem, tiling: Tiling) -> Iterator[Tiling]:
    axis = "heights" if problem.out_height > 1 else "widths"
    pieces: tuple[int, ...] = getattr(tiling, axis)
    for divisor in (2, 3, 4, 6, 8):
        for tapered in (_tapered(pieces, divisor, True), _tapered(pieces, divisor, False)):
            changed = _with_pieces(tiling, axis, tapered)
            yield replace(changed, in_slots=2) if changed.tiles > 1 and changed.in_slots < 2 else changed


def _with_pieces(tiling: Tiling, axis: str, pieces: tuple[int, ...]) -> Tiling:
    return replace(tiling, heights=pieces) if axis == "heights" else replace(tiling, widths=pieces)


def _tapered(pieces: tuple[int, ...], divisor: int, is_both: bool) -> tuple[int, ...]:
    """Cut a small piece off the first piece and, if `is_both`, off the last."""
    small = pieces[0] // divisor
    result = (small, pieces[0] - small, *pieces[1:]) if small else pieces
    end = result[-1] // divisor
    return (*result[:-1], result[-1] - end, end) if is_both and end else result
