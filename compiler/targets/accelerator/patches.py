"""Spatial tiles of a convolution: output rows and columns, the input that they need, and how both lie in `act`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tilewright.compiler.targets.accelerator.depthwise_tiling import DepthwiseTiling
from tilewright.compiler.targets.accelerator.operations import Span
from tilewright.compiler.targets.accelerator.placement import Resident
from tilewright.compiler.targets.accelerator.problem import Problem, Tiling
from tilewright.isa.config import Config


@dataclass(frozen=True)
class Patch:
    """A spatial tile: output rows and columns, and the extents (pitch) of its input and its output in `act`."""

    image: int
    row: int
    rows: int
    column: int
    columns: int
    in_rows: int
    in_columns: int
    out_rows: int
    out_columns: int

    @property
    def plane(self) -> int:
        """Positions of a block of output."""
        return self.rows * self.columns

    @property
    def in_plane(self) -> int:
        """Rows of `act` from one block of input to the next."""
        return self.in_rows * self.in_columns

    @property
    def out_plane(self) -> int:
        """Rows of `act` from one block of output to the next."""
        return self.out_rows * self.out_columns

    def out_spans(self, base: int, blocks: int, config: Config) -> tuple[Span, ...]:
        """What `blocks` blocks of output from row `base` on take of `act`."""
        if self.out_plane == self.plane:
            return (("act", base % config.act_rows, blocks * self.plane),)
        size = (self.rows - 1) * self.out_columns + self.columns
        return tuple(("act", (base + i * self.out_plane) % config.act_rows, size) for i in range(blocks))


def patches(problem: Problem, tiling: Tiling, source: Resident | None, target: Resident | None) -> Iterator[Patch]:
    """Yield the spatial tiles of all images; resident tensors lie there whole."""
    for image in range(problem.groups):
        yield from image_patches(image, tiling, (problem.in_rows, problem.in_columns), source, target)


def image_patches(
    image: int,
    tiling: Tiling | DepthwiseTiling,
    extents: tuple[Callable[[int], int], Callable[[int], int]],
    source: Resident | None,
    target: Resident | None,
) -> Iterator[Patch]:
    """Yield the spatial tiles of an image.

    Parameters
    ----------
    image
    tiling
    extents
        Give the rows and the columns of input that as many of output take in `act`.
    source, target
        Where the tensors lie, if they lie there whole.
    """
    row = 0
    for rows in tiling.heights:
        column = 0
        for columns in tiling.widths:
            inputs, outputs = (extents[0](rows), extents[1](columns)), (rows, columns)
            if source is not None:
                inputs = (source.grid.rows, source.grid.columns)
            if target is not None:
                outputs = (target.grid.rows, target.grid.columns)
            yield Patch(image, row, rows, column, columns, *inputs, *outputs)
            column += columns
        row += rows


def clip(start: int, count: int, end: int) -> tuple[int, int, int]:
    """Split `count` positions from `start` on into those before 0, those inside and those beyond.

    `end` is how many positions from `start` on the last one inside lies; `start` may be negative.
    """
    before = min(max(-start, 0), count)
    inside = max(min(count, end) - before, 0)
    return before, inside, count - before - inside
