"""What a layer needs to know of its surroundings: where its tensors and constants lie, and what ends its sums."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.qops import Epilogue
from tilewright.compiler.targets.accelerator.layout import TensorLayout


@dataclass(frozen=True)
class Placed:
    """A tensor in DRAM."""

    offset: int
    layout: TensorLayout


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
