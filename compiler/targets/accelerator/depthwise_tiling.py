"""Chooses how a depthwise convolution is cut: channel blocks, rows and columns of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from tilewright.compiler.targets.accelerator.cost import (
    BOX_CYCLES,
    FENCE_CYCLES,
    FETCH_CYCLES,
    GAP_CYCLES,
    LATENCY_CYCLES,
    RUN_CYCLES,
)
from tilewright.compiler.targets.accelerator.depthwise_tile import Window, windows
from tilewright.compiler.targets.accelerator.tile_output import Pair
from tilewright.compiler.targets.accelerator.tiling import evenly
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError

#: Most pieces that an extent is cut into while searching.
MAX_PIECES = 32


#: Cycles that an input row takes at least.
SHORTEST_LINE = 3


@dataclass(frozen=True)
class DepthwiseProblem:
    """A depthwise convolution in units of the machine.

    Attributes
    ----------
    groups, blocks : int
        Groups of `batch` images; blocks of `lanes` channels.
    co_count : int
        Blocks of `block_out` channels that hold any channel.
    in_height, in_width, out_height, out_width : int
        Pixels.
    kernel, strides : pair of int
    pads : pair of int
        Top and left.
    has_residual : bool
    keeps_input, keeps_output : bool
        Whether the whole input, or the whole output, lies in `act` anyway.
    is_stored : bool
        Whether the output goes to DRAM.
    reserved_rows : int
        Rows of `act` that are not for tiles.
    """

    groups: int
    blocks: int
    co_count: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel: Pair
    strides: Pair
    pads: Pair
    has_residual: bool
    keeps_input: bool = False
    keeps_output: bool = False
    is_stored: bool = True
    reserved_rows: int = 0

    def in_rows(self, rows: int) -> int:
        """Input rows of `rows` output rows."""
        return (rows - 1) * self.strides[0] + self.kernel[0]

    def in_columns(self, columns: int) -> int:
        """Input columns of `columns` output columns."""
        return (columns - 1) * self.strides[1] + self.kernel[1]

    def pitch(self, columns: int) -> int:
        """Columns from one input row to the next in `act`.

        One more than needed where rows would follow each other so that a row of windows looks like a longer row.
        """
        needed = self.in_columns(columns)
        return needed + self.is_seamless(needed, columns)

    def is_seamless(self, pitch: int, columns: int) -> bool:
        """Whether rows follow each other like that."""
        return self.strides[0] * pitch == self.strides[1] * columns or pitch == self.kernel[1]


@dataclass(frozen=True)
class DepthwiseTiling:
    """Output rows and columns of successive tiles, channel blocks of a step, and what it is estimated to cost."""

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: int
    cycles: int

    @property
    def height(self) -> int:
        """Output rows of the largest tile."""
        return max(self.heights)

    @property
    def width(self) -> int:
        """Output columns of the largest tile."""
        return max(self.widths)


def in_slot_rows(problem: DepthwiseProblem, blocks: int, height: int, width: int) -> int:
    """Rows of `act` that a tile of input takes."""
    if problem.keeps_input:
        return 0
    return blocks * problem.in_rows(height) * problem.pitch(width)


@lru_cache(maxsize=1024)
def choose_depthwise_tiling(problem: DepthwiseProblem, config: Config) -> DepthwiseTiling:
    """Return the tiling with the least estimate, two tiles of input and output in `act` at a time.

    Raises
    ------
    CapacityError
        When a row of output of one channel block does not fit, naming the memory.
    """
    best = min(_candidates(problem, config), key=lambda tiling: tiling.cycles, default=None)
    if best is None:
        rows = 2 * (in_slot_rows(problem, 1, 1, 1) + 1)
        raise CapacityError(
            f"the smallest tile needs {rows * config.row_bytes} bytes of `memory.act_kib`, "
            f"which has {config.memory.act_kib * 1024}"
        )
    return best


def out_slot_rows(problem: DepthwiseProblem, blocks: int, height: int, width: int) -> int:
    """Rows of `act` that a tile of output takes."""
    return 0 if problem.keeps_output else blocks * height * width


def _candidates(problem: DepthwiseProblem, config: Config) -> Iterator[DepthwiseTiling]:
    widest = (config.depthwise.columns - min(problem.kernel[1], config.window_columns)) // problem.strides[1] + 1
    count = len(windows(problem.kernel, config))
    for width in _sizes(problem.out_width, widest):
        found = False
        for blocks in _sizes(problem.blocks, problem.blocks):
            for height in _sizes(problem.out_height, config.depthwise.columns):
                if _fits(problem, blocks, height, width, count, config):
                    found = True
                    heights, widths = evenly(problem.out_height, height), evenly(problem.out_width, width)
                    cycles = _estimate(problem, heights, widths, blocks, config)
                    yield DepthwiseTiling(heights, widths, blocks, cycles)
        if found:
            return


def _sizes(total: int, most: int) -> Iterator[int]:
    """Yield sizes of nearly equal pieces, at most `most`, the largest first."""
    last = 0
    for count in [*range(1, min(total, MAX_PIECES) + 1), total]:
        size = -(-total // count)
        if size <= most and size != last:
            yield size
            last = size


def _fits(problem: DepthwiseProblem, blocks: int, height: int, width: int, count: int, config: Config) -> bool:
    """Tell whether two tiles fit whose kernel takes `count` windows."""
    sub_out = config.sub_out
    slots = 2 * (in_slot_rows(problem, blocks, height, width) + out_slot_rows(problem, blocks, height, width))
    return (
        slots + problem.reserved_rows <= config.act_rows
        and (count == 1 or blocks * height * width * sub_out <= config.acc_depth)
        and 2 * blocks * sub_out * count <= config.wgt_depth
        and 2 * blocks * sub_out <= config.prm_depth
    )


def _estimate(
    problem: DepthwiseProblem, heights: tuple[int, ...], widths: tuple[int, ...], blocks: int, config: Config
) -> int:
    """Cycles from start to the last response: every step is as long as the slowest engine is busy with it."""
    row_cycles = max(1, config.row_bytes // config.bus_bytes)
    entry_cycles = max(1, config.wgt_entry_bytes // config.bus_bytes)
    sub_out = config.sub_out
    parts = windows(problem.kernel, config)
    constants = sub_out * (len(parts) * entry_cycles + max(1, config.prm_entry_bytes // config.bus_bytes))
    steps = len(parts) * sub_out * GAP_CYCLES + (len(parts) - 1) * FENCE_CYCLES
    sizes = {size: _tile_cycles(problem, size, parts, row_cycles) for size in product(set(heights), set(widths))}
    tiles = [sizes[size] for size in product(heights, widths)]
    end = FETCH_CYCLES + LATENCY_CYCLES
    loaded = computed = stored = end
    for group in evenly(problem.blocks, blocks):
        loaded += group * constants + 2 * BOX_CYCLES
        for load, pixels, row in tiles:
            store = group * row + BOX_CYCLES
            loaded += (group * load + BOX_CYCLES) * (not problem.keeps_input) + problem.has_residual * store
            computed = max(computed, loaded) + group * sub_out * pixels + steps
            stored = max(stored, computed) + store * problem.is_stored
    return problem.groups * (stored - end) + end + LATENCY_CYCLES


def _tile_cycles(
    problem: DepthwiseProblem, size: Pair, parts: Sequence[Window], row_cycles: int
) -> tuple[int, int, int]:
    """Cycles of a block of a tile of so many output rows and columns: of its input, its pixels and its output."""
    height, width = size
    line = min(problem.in_columns(width), problem.in_width) * row_cycles + RUN_CYCLES
    pixels = sum(
        ((height - 1) * problem.strides[0] + part.rows)
        * max(SHORTEST_LINE, (width - 1) * problem.strides[1] + part.columns)
        for part in parts
    )
    return problem.in_rows(height) * line, pixels, height * width * row_cycles
