"""What a layer needs to know of its surroundings: where its tensors and constants lie, and what ends its sums."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewright.compiler.qops import Epilogue
from tilewright.compiler.targets.accelerator.layout import TensorLayout
from tilewright.compiler.targets.accelerator.tile_output import Grid


@dataclass(frozen=True)
class Resident:
    """A tensor that stays in `act` from the layer that computes it to the one that reads it.

    Attributes
    ----------
    base : int
        First row.
    grid : Grid
        Extents, the border included.
    top, left : int
        Rows and columns of the border before the tensor.
    value : int
        What the border holds.
    first_block : int
        Which block of the tensor lies first, when only some do at a time.
    """

    base: int
    grid: Grid
    top: int = 0
    left: int = 0
    value: int = 0
    first_block: int = 0

    def at(self, block: int, row: int, column: int) -> int:
        """Return the row of a pixel; positions may lie in the border."""
        return self.base + self.grid.offset(block - self.first_block, self.top + row, self.left + column)

    def flattened(self) -> Resident:
        """The same rows as one line of pixels, where there is no border."""
        return replace(self, grid=Grid(self.grid.blocks, 1, self.grid.rows * self.grid.columns))


@dataclass(frozen=True)
class Placed:
    """A tensor in DRAM, or in `act`, or both.

    Attributes
    ----------
    offset : int
        First byte in DRAM.
    layout : TensorLayout
    resident : Resident or None
        Where it stays in `act`.
    is_stored : bool
        Whether it is in DRAM, too, or must be brought there.
    spare_rows : int
        Rows of `act` that must be left for another layer.
    """

    offset: int
    layout: TensorLayout
    resident: Resident | None = None
    is_stored: bool = True
    spare_rows: int = 0


@dataclass(frozen=True)
class Tail:
    """The epilogue of a layer with its constants.

    Attributes
    ----------
    epilogue : Epilogue
    parameters : int
        First byte of the parameter entries in DRAM.
    table : int or None
        First byte of the lookup table in DRAM, if there is one.
    residual : Placed or None
        The second operand, if there is one.
    """

    epilogue: Epilogue
    parameters: int
    table: int | None = None
    residual: Placed | None = None
