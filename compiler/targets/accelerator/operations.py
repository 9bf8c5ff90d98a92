"""What lowering produces before encoding: operations with their footprints, gathered in steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tilewright.isa.instructions import Engine

#: A contiguous piece of a memory: its name, first unit and number of units. Units are rows (`act`), entries (`wgt`,
#: `acc`, `prm`), tables (`tbl`) and bytes (`dram`). Scratchpad spans wrap around.
Span = tuple[str, int, int]


@dataclass(slots=True)
class Operation:
    """One instruction to be.

    Attributes
    ----------
    name : str
        The mnemonic.
    engine : Engine
    operands : dict
        Everything but `wait`, `signal` and `fence`.
    reads, writes : tuple of Span
        What it touches; may be larger than the truth.
    layer : int
        Index of the layer in the report.
    label : str
        For people.
    """

    name: str
    engine: Engine
    operands: dict[str, int]
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    layer: int = 0
    label: str = ""


@dataclass(slots=True)
class Step:
    """A piece of a layer: what must be loaded first, what is computed, what is stored then."""

    loads: list[Operation] = field(default_factory=list)
    computes: list[Operation] = field(default_factory=list)
    stores: list[Operation] = field(default_factory=list)

    def operations(self) -> Iterator[Operation]:
        """Everything in a valid order."""
        yield from self.loads
        yield from self.computes
        yield from self.stores


def spans_overlap(first: Span, second: Span, depth: int) -> bool:
    """Tell whether two spans share a unit of a memory that wraps at `depth`."""
    if first[0] != second[0] or not first[2] or not second[2]:
        return False
    return (second[1] - first[1]) % depth < first[2] or (first[1] - second[1]) % depth < second[2]
