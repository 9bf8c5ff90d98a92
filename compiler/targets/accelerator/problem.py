"""A convolution or matrix product in units of the machine: what the tile search and the lowering work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.config import Config

#: A number, or many at once.
Count = TypeVar("Count", int, NDArray[np.int64])


@dataclass(frozen=True)
class Problem:
    """Rows of `lanes` channels in, rows out; a matrix product is a 1x1 convolution of height 1.

    Attributes
    ----------
    groups : int
        Groups of `batch` images.
    in_height, in_width, out_height, out_width : int
        Pixels.
    span, step : int
        Input blocks (of `lanes` channels) that an output block reads; how many blocks further the next one's begin.
    out_blocks : int
        Output blocks of `lanes` channels.
    co_count : int
        Output blocks of `block_out` channels that hold any channel.
    kernel, strides, dilations : tuple of int
        Over height and width.
    pads : tuple of int
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
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    span: int
    step: int
    out_blocks: int
    co_count: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    has_residual: bool = False
    keeps_input: bool = False
    keeps_output: bool = False
    is_stored: bool = True
    reserved_rows: int = 0

    @property
    def skips_rows(self) -> bool:
        """Whether only every `strides[0]`-th input row is needed, so that the others are not loaded."""
        return self.kernel[0] == 1 and self.strides[0] > 1 and self.pads[0] == 0 and not self.keeps_input

    @property
    def row_stride(self) -> int:
        """Distance of the rows that successive output rows start at, in loaded rows."""
        return 1 if self.skips_rows else self.strides[0]

    def in_rows(self, out_rows: Count) -> Count:
        """Loaded rows that `out_rows` rows of output need."""
        return (out_rows - 1) * self.row_stride + (self.kernel[0] - 1) * self.dilations[0] + 1

    def in_columns(self, out_columns: Count) -> Count:
        """Columns that `out_columns` columns of output need."""
        return (out_columns - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilations[1] + 1

    def in_blocks(self, out_blocks: int, blocks: int) -> int:
        """Input blocks that `out_blocks` output blocks read of `blocks` blocks of reduction."""
        return (out_blocks - 1) * self.step + blocks

    def taps(self, config: Config) -> int:
        """Weight entries of one co block for one input block of `lanes` channels."""
        return self.kernel[0] * self.kernel[1] * config.sub_in

    def steps(self, config: Config) -> int:
        """Steps of the array for the whole problem."""
        positions = self.groups * self.out_height * self.out_width
        return positions * self.co_count * self.span * self.taps(config)

    def flattened(self) -> Problem:
        """The same problem with the image as one line where that is possible, so that tiles need not be whole rows."""
        is_pointwise = self.kernel == (1, 1) and self.strides == (1, 1) and self.pads == (0, 0)
        is_pointwise &= (self.in_height, self.in_width) == (self.out_height, self.out_width)  # no pads behind, either
        if not is_pointwise or self.out_height == 1:
            return self
        pixels = self.in_height * self.in_width
        return replace(self, in_height=1, in_width=pixels, out_height=1, out_width=pixels)


@dataclass(frozen=True)
class Tiling:
    """How a problem is cut.

    Attributes
    ----------
    heights : tuple of int
        Output rows of successive tiles.
    width : int
        Output columns of a tile (the last may have fewer).
    out_blocks : int
        Output blocks (of `lanes` channels) of a step.
    blocks : int
        Input blocks of a step's reduction.
    kernel : tuple of int
        Kernel rows and columns of a step's reduction; less than the kernel only when `blocks` is 1.
    is_input_resident : bool
        Whether a tile's input stays for all its steps, instead of being loaded for each.
    is_weight_resident : bool
        Whether the weights stay for the whole layer.
    is_parameter_resident : bool
        Whether the parameter entries stay for the whole layer.
    in_slots, out_slots : int
        Tiles of input and output in `act` at a time.
    widths : tuple of int
        Output columns of successive tiles.
    """

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    out_blocks: int
    blocks: int
    kernel: tuple[int, int]
    is_input_resident: bool
    is_weight_resident: bool
    is_parameter_resident: bool
    in_slots: int
    out_slots: int

    @property
    def tiles(self) -> int:
        """Spatial tiles of one image."""
        return len(self.heights) * len(self.widths)

    @property
    def height(self) -> int:
        """Output rows of the largest tile."""
        return max(self.heights)

    @property
    def width(self) -> int:
        """Output columns of the largest tile."""
        return max(self.widths)


def in_slot_blocks(problem: Problem, tiling: Tiling) -> int:
    """Channel blocks of one tile of input in `act`."""
    if problem.keeps_input:
        return 0
    if tiling.is_input_resident:
        return problem.span
    return problem.in_blocks(tiling.out_blocks, tiling.blocks)


def in_slot_rows(problem: Problem, tiling: Tiling) -> int:
    """Rows of `act` that one tile of input takes."""
    return in_slot_blocks(problem, tiling) * problem.in_rows(tiling.height) * problem.in_columns(tiling.width)


def out_slot_blocks(problem: Problem, tiling: Tiling) -> int:
    """Channel blocks of one tile of output in `act`."""
    return 0 if problem.keeps_output else tiling.out_blocks


def out_slot_rows(problem: Problem, tiling: Tiling) -> int:
    """Rows of `act` that one tile of output takes."""
    return out_slot_blocks(problem, tiling) * tiling.height * tiling.width


def chunk_entries(problem: Problem, tiling: Tiling, config: Config) -> int:
    """Weight entries of one step."""
    sub_in, sub_out = config.sub_in, config.sub_out
    co_blocks = min(tiling.out_blocks * sub_out, problem.co_count)
    return co_blocks * tiling.blocks * tiling.kernel[0] * tiling.kernel[1] * sub_in


def reductions(problem: Problem, tiling: Tiling) -> int:
    """Steps that the reduction of one output takes."""
    kh = -(-problem.kernel[0] // tiling.kernel[0])
    kw = -(-problem.kernel[1] // tiling.kernel[1])
    return -(-problem.span // tiling.blocks) * kh * kw


def chunk_list(problem: Problem, tiling: Tiling) -> list[tuple[int, int, int, int, int, int]]:
    """The steps of the reduction: first block, blocks, first kernel row, rows, first column, columns."""
    return [
        (block, min(tiling.blocks, problem.span - block), y, min(tiling.kernel[0], problem.kernel[0] - y),
         x, min(tiling.kernel[1], problem.kernel[1] - x))
        for block in range(0, problem.span, tiling.blocks)
        for y in range(0, problem.kernel[0], tiling.kernel[0])
        for x in range(0, problem.kernel[1], tiling.kernel[1])
    ]  # fmt: skip
