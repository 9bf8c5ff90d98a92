"""Many tilings of a problem at once, as columns of numbers: what the search compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.accelerator.problem import Problem, Tiling
from tilewright.isa.config import Config

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Tiles that are looked at one by one; beyond them, those in the middle are taken for equal.
WATCHED_TILES = 10

#: What stands for no tile among those watched.
NO_TILE = -1


@dataclass(frozen=True)
class Cut:
    """An image's spatial tiles by their kinds: the first tile, then the sizes of the others.

    Attributes
    ----------
    sizes : tuple of (rows, columns)
        Of each kind.
    counts : tuple of int
        Tiles of each kind.
    watched : tuple of int
        The kinds of the first and last tiles, in order.
    tiles : int
    last : int
        Output positions of the last tile.
    """

    sizes: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]
    watched: tuple[int, ...]
    tiles: int
    last: int


@lru_cache(maxsize=4096)
def cut_of(heights: tuple[int, ...], widths: tuple[int, ...]) -> Cut:
    """Return the kinds of the tiles of these heights and widths, row by row."""
    columns, tiles = len(widths), len(heights) * len(widths)
    rows_of, columns_of = Counter(heights), Counter(widths)
    first = (heights[0], widths[0])
    counts = {size: rows_of[size[0]] * columns_of[size[1]] for size in product(rows_of, columns_of)}
    counts[first] -= 1
    kinds = [size for size, count in counts.items() if count]
    half = WATCHED_TILES // 2
    places = range(tiles) if tiles <= WATCHED_TILES else (*range(half), *range(tiles - half, tiles))
    watched = [1 + kinds.index((heights[i // columns], widths[i % columns])) for i in places if i]
    return Cut((first, *kinds), (1, *(counts[size] for size in kinds)), (0, *watched), tiles, heights[-1] * widths[-1])


@dataclass(frozen=True)
class Cuts:
    """The cuts of many tilings; the last axis is the tiling.

    Attributes
    ----------
    heights, widths, counts : array (kinds, tilings)
        Rows and columns of a kind's tiles, and their number.
    unwatched : array (kinds, tilings)
        Of these, those in the middle that are not looked at one by one.
    watched : array (places, tilings)
        Kinds of the tiles that are; `NO_TILE` behind the last.
    tiles, last : array (tilings)
        As in `Cut`.
    """

    heights: Numbers
    widths: Numbers
    counts: Numbers
    unwatched: Numbers
    watched: Numbers
    tiles: Numbers
    last: Numbers

    @classmethod
    def of(cls, cuts: Sequence[Cut]) -> Cuts:
        """Put cuts side by side."""
        kinds, places = max(len(cut.sizes) for cut in cuts), max(len(cut.watched) for cut in cuts)
        sizes = np.ones((len(cuts), kinds, 2), np.int64)
        counts = np.zeros((len(cuts), kinds), np.int64)
        watched = np.full((len(cuts), places), NO_TILE, np.int64)
        seen = np.zeros((len(cuts), kinds), np.int64)
        for i, cut in enumerate(cuts):
            sizes[i, : len(cut.sizes)] = cut.sizes
            counts[i, : len(cut.counts)] = cut.counts
            watched[i, : len(cut.watched)] = cut.watched
            seen[i] = np.bincount(cut.watched, minlength=kinds)
        tiles, last = (np.array([getattr(cut, name) for cut in cuts], np.int64) for name in ("tiles", "last"))
        return cls(sizes[..., 0].T, sizes[..., 1].T, counts.T, (counts - seen).T, watched.T, tiles, last)

    def take(self, places: Numbers) -> Cuts:
        """Return those of these places."""
        return Cuts(*(getattr(self, f.name)[..., places] for f in fields(self)))


@dataclass(frozen=True)
class Candidates:
    """Tilings of one problem for one configuration, by the fields of `Tiling`: arrays of as many numbers.

    Attributes
    ----------
    problem : Problem
    config : Config
    out_blocks, blocks, kernel_rows, kernel_columns, in_slots, out_slots : array
    is_input_resident, is_weight_resident, is_parameter_resident : array
    """

    problem: Problem
    config: Config
    out_blocks: Numbers
    blocks: Numbers
    kernel_rows: Numbers
    kernel_columns: Numbers
    is_input_resident: Flags
    is_weight_resident: Flags
    is_parameter_resident: Flags
    in_slots: Numbers
    out_slots: Numbers

    @classmethod
    def of(cls, problem: Problem, tilings: Sequence[Tiling], config: Config) -> Candidates:
        """Put tilings side by side."""
        rows = [
            (t.out_blocks, t.blocks, *t.kernel, t.is_input_resident, t.is_weight_resident, t.is_parameter_resident,
             t.in_slots, t.out_slots)
            for t in tilings
        ]  # fmt: skip
        columns = np.array(rows, np.int64).T
        return cls(problem, config, *columns[:4], *columns[4:7].astype(np.bool_), *columns[7:])

    def take(self, places: Numbers | Flags) -> Candidates:
        """Return those of these places."""
        arrays = [f.name for f in fields(self) if f.name not in ("problem", "config")]
        return replace(self, **{name: getattr(self, name)[places] for name in arrays})

    def tiling(self, place: int, heights: tuple[int, ...], widths: tuple[int, ...]) -> Tiling:
        """Return one of them, with the image cut into these tiles."""
        kernel = (int(self.kernel_rows[place]), int(self.kernel_columns[place]))
        return Tiling(
            heights, widths, int(self.out_blocks[place]), int(self.blocks[place]), kernel,
            bool(self.is_input_resident[place]), bool(self.is_weight_resident[place]),
            bool(self.is_parameter_resident[place]), int(self.in_slots[place]), int(self.out_slots[place]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.out_blocks)

    @property
    def entries(self) -> Numbers:
        """Blocks of `block_out` channels of a step, none left out."""
        return self.out_blocks * self.config.sub_out

    @property
    def co_groups(self) -> Numbers:
        """Steps that the output blocks are cut into."""
        return -(-self.problem.out_blocks // self.out_blocks)

    @property
    def reductions(self) -> Numbers:
        """Steps that the reduction of one output takes."""
        kernel_rows, kernel_columns = self.problem.kernel
        window = -(-kernel_rows // self.kernel_rows) * -(-kernel_columns // self.kernel_columns)
        return -(-self.problem.span // self.blocks) * window

    @property
    def chunk_entries(self) -> Numbers:
        """Weight entries of one step."""
        taps = self.kernel_rows * self.kernel_columns * self.config.sub_in
        return np.minimum(self.entries, self.problem.co_count) * self.blocks * taps

    @property
    def weights_needed(self) -> Numbers:
        """Weight entries in `wgt` at a time, at least."""
        return np.where(self.is_weight_resident, all_weights(self.problem, self.config), self.chunk_entries)

    @property
    def in_slot_blocks(self) -> Numbers:
        """Channel blocks of one tile of input in `act`."""
        streamed = self.in_blocks(self.blocks)
        return np.where(self.is_input_resident, self.problem.span, streamed) * (not self.problem.keeps_input)

    def in_blocks(self, blocks: Numbers | int) -> Numbers:
        """Input blocks that a step's output blocks read of `blocks` blocks of reduction."""
        return (self.out_blocks - 1) * self.problem.step + blocks

    @property
    def out_slot_blocks(self) -> Numbers:
        """Channel blocks of one tile of output in `act`."""
        return self.out_blocks * (not self.problem.keeps_output)

    def holds(self, heights: Numbers, widths: Numbers) -> Flags:
        """Tell whether tiles of so many output rows and columns fit, whatever broadcasts with the last axis."""
        problem, config = self.problem, self.config
        sums = self.entries * (self.reductions > 1)
        inputs = self.in_slots * self.in_slot_blocks * problem.in_rows(heights) * problem.in_columns(widths)
        outputs = self.out_slots * self.out_slot_blocks * heights * widths
        return (
            (self.weights_needed <= config.wgt_depth)
            & (self.entries <= config.prm_depth)
            & (sums * heights * widths <= config.acc_depth)
            & (inputs + outputs <= config.act_rows - problem.reserved_rows)
        )


def all_weights(problem: Problem, config: Config) -> int:
    """Weight entries of a whole problem."""
    return problem.co_count * problem.span * problem.taps(config)
