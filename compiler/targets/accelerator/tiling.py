"""Chooses how a convolution or matrix product is cut, so that it fits the scratchpads and takes the fewest cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tilewright.compiler.targets.accelerator.cost import Cost, estimate
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.problem import (
    Problem,
    Tiling,
    chunk_entries,
    in_slot_blocks,
    in_slot_rows,
    out_slot_blocks,
    out_slot_rows,
    reductions,
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
    best: Choice | None = None
    for tiling in _candidates(problem, config):
        cost = estimate(problem, tiling, config)
        if best is None or _objective(cost) < _objective(best.cost):
            best = Choice(tiling, cost)
    if best is None:
        raise CapacityError(shortage(problem, config))
    return _refined(problem, best, config)


def _objective(cost: Cost) -> int:
    """Cycles, and a little for the bus, which other layers and other users of the memory want."""
    return cost.cycles + (cost.load + cost.store) // 64


def shortage(problem: Problem, config: Config) -> str:
    """Say which memory the smallest possible tile exceeds."""
    smallest = _smallest(problem, config)
    rows = in_slot_rows(problem, smallest) + 2 * out_slot_rows(problem, smallest) + problem.reserved_rows
    entries = chunk_entries(problem, smallest, config)
    checks = (
        ("memory.act_kib", rows * config.row_bytes, config.memory.act_kib * 1024),
        ("memory.wgt_kib", entries * config.wgt_entry_bytes, config.memory.wgt_kib * 1024),
        ("memory.prm_entries", config.lanes // config.gemm.block_out * config.prm_entry_bytes,
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


@dataclass(frozen=True)
class _Room:
    """What tiles of any size may take, the rest of the tiling being given.

    Attributes
    ----------
    problem : Problem
    is_possible : bool
        Whether weights and parameters fit.
    in_blocks, out_blocks : int
        Channel blocks of input and output that lie in `act` at a time, over all slots.
    act_rows : int
        Rows of `act` that there are for them.
    sums, acc_entries : int
        Partial sums of an output position, and the entries that there are for them.
    """

    problem: Problem
    is_possible: bool
    in_blocks: int
    out_blocks: int
    act_rows: int
    sums: int
    acc_entries: int

    @classmethod
    def of(cls, problem: Problem, tiling: Tiling, config: Config) -> _Room:
        entries = tiling.out_blocks * (config.lanes // config.gemm.block_out)
        return cls(
            problem,
            _weights_needed(problem, tiling, config) <= config.wgt_depth and entries <= config.prm_depth,
            tiling.in_slots * in_slot_blocks(problem, tiling),
            tiling.out_slots * out_slot_blocks(problem, tiling),
            config.act_rows - problem.reserved_rows,
            entries if reductions(problem, tiling) > 1 else 0,
            config.acc_depth,
        )

    def holds(self, height: int, width: int) -> bool:
        """Tell whether tiles of so many output rows and columns fit."""
        if not self.is_possible or self.sums * height * width > self.acc_entries:
            return False
        inputs = self.in_blocks * self.problem.in_rows(height) * self.problem.in_columns(width)
        return inputs + self.out_blocks * height * width <= self.act_rows


def fits(problem: Problem, tiling: Tiling, config: Config) -> bool:
    """Tell whether a tiling's buffers fit into the scratchpads."""
    return _Room.of(problem, tiling, config).holds(tiling.height, tiling.width)


def _weights_needed(problem: Problem, tiling: Tiling, config: Config) -> int:
    chunk = chunk_entries(problem, tiling, config)
    if not tiling.is_weight_resident:
        return chunk
    return problem.co_count * problem.span * problem.taps(config)


def _candidates(problem: Problem, config: Config) -> Iterator[Tiling]:
    """Yield tilings that fit."""
    for blocks, kernel in _reduction_cuts(problem, config):
        for out_blocks in _cuts(problem.out_blocks):
            yield from _with_reduction(problem, config, blocks, kernel, out_blocks)


def _with_reduction(
    problem: Problem, config: Config, blocks: int, kernel: tuple[int, int], out_blocks: int
) -> Iterator[Tiling]:
    sub_out = config.lanes // config.gemm.block_out
    if out_blocks * sub_out > config.prm_depth:
        return
    parameters = problem.co_count + sub_out <= config.prm_depth // 2
    base = Tiling((1,), (1,), out_blocks, blocks, kernel, False, False, parameters, 1, 1)
    chunk = chunk_entries(problem, base, config)
    if chunk > config.wgt_depth:
        return
    total = problem.co_count * problem.span * problem.taps(config)
    for weights in {total <= config.wgt_depth, False}:
        for is_input in _input_ways(problem):
            fixed = replace(base, is_input_resident=is_input, is_weight_resident=weights)
            yield from _slotted(problem, fixed, config)


def _input_ways(problem: Problem) -> tuple[bool, ...]:
    """Whether a tile's input stays for all its steps."""
    if problem.keeps_input:
        return (True,)
    return (True, False) if problem.step == 0 else (False,)


def _slotted(problem: Problem, tiling: Tiling, config: Config) -> Iterator[Tiling]:
    """Yield the tiling with spatial tiles that fit several times, and with larger ones that fit only once."""
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for in_slots, out_slots, most in _SLOTS:
        slotted = replace(tiling, in_slots=in_slots, out_slots=out_slots)
        for heights, widths in _spatial_cuts(problem, slotted, config, most):
            is_single = problem.groups * len(heights) * len(widths) == 1 and tiling.is_input_resident
            if (is_single and (in_slots, out_slots) != _SINGLE) or (heights, widths) in seen:
                continue
            seen.add((heights, widths))
            yield replace(slotted, heights=heights, widths=widths)


def _reduction_cuts(problem: Problem, config: Config) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield blocks and kernel window of a reduction step; the window is cut only where one block alone is too much."""
    kh, kw = problem.kernel
    sub_in = config.lanes // config.gemm.block_in
    if sub_in > 1 and kw > 1 and problem.dilations[1] > 1:
        kh = 1  # kernel columns and sub blocks do not merge into one loop: no loop is left for kernel rows
    if kh == problem.kernel[0]:
        for blocks in _cuts(problem.span):
            yield blocks, (kh, kw)
    else:
        yield 1, (kh, kw)
    sub_out = config.lanes // config.gemm.block_out
    if kh * kw * sub_in * sub_out * 2 > config.wgt_depth:
        if kh > 1:
            yield 1, (1, kw)
        if kw > 1:
            yield 1, (1, 1)


def _spatial_cuts(
    problem: Problem, tiling: Tiling, config: Config, most: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the largest heights and widths of tiles: whole rows where they fit, else single rows cut into pieces."""
    room = _Room.of(problem, tiling, config)
    seen = 0
    for height in _cuts(problem.out_height):
        if room.holds(height, problem.out_width):
            yield evenly(problem.out_height, height), (problem.out_width,)
            seen += 1
            if seen == most:
                break
    if seen and problem.out_height > 1:
        return
    for width in _cuts(problem.out_width)[1:]:
        if room.holds(1, width):
            yield (1,) * problem.out_height, evenly(problem.out_width, width)
            seen += 1
            if seen == most:
                return


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
    best = choice
    axis = "heights" if problem.out_height > 1 else "widths"
    pieces: tuple[int, ...] = getattr(choice.tiling, axis)
    for divisor in (2, 3, 4, 6, 8):
        for tapered in (_tapered(pieces, divisor, True), _tapered(pieces, divisor, False)):
            tiling = _with_pieces(choice.tiling, axis, tapered)
            if tiling.tiles > 1 and tiling.in_slots < 2:
                tiling = replace(tiling, in_slots=2)
            if not fits(problem, tiling, config):
                continue
            cost = estimate(problem, tiling, config)
            if _objective(cost) < _objective(best.cost):
                best = Choice(tiling, cost)
    return best


def _with_pieces(tiling: Tiling, axis: str, pieces: tuple[int, ...]) -> Tiling:
    return replace(tiling, heights=pieces) if axis == "heights" else replace(tiling, widths=pieces)


def _tapered(pieces: tuple[int, ...], divisor: int, is_both: bool) -> tuple[int, ...]:
    """Cut a small piece off the first piece and, if `is_both`, off the last."""
    small = pieces[0] // divisor
    result = (small, pieces[0] - small, *pieces[1:]) if small else pieces
    end = result[-1] // divisor
    return (*result[:-1], result[-1] - end, end) if is_both and end else result
