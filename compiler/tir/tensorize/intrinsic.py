"""What an instruction looks like to the compiler: a pattern with holes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tilewright.compiler.tir.tensorize.canonical import canonical
from tilewright.compiler.tir.tensorize.tree import Level, accesses, targets
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import Load, Stmt, Store

Signature = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Intrinsic:
    """One instruction in one mode.

    Attributes
    ----------
    name : str
        The instruction's.
    mode : Mapping[str, int]
        The operands that the mode fixes.
    body : Stmt
        The meaning, specialised to the mode; loops whose extents are no constants are hardware loops.
    holes : Mapping[str, range]
        The scalars that remain, with the values that they may take; strides may take any.
    entry_elements : Mapping[str, int]
        Elements of one addressable entry, by memory space.
    alignment : Mapping[str, int]
        Holes whose values must be multiples of more than 1.
    """

    name: str
    mode: Mapping[str, int]
    body: Stmt
    holes: Mapping[str, range]
    entry_elements: Mapping[str, int]
    alignment: Mapping[str, int]

    @cached_property
    def pattern(self) -> Level:
        """The canonical form of the meaning."""
        return canonical(self.body)

    @cached_property
    def signature(self) -> Signature:
        """What must be alike in a nest."""
        stores = [s.buffer.space for s in walk_statements(self.body) if isinstance(s, Store)]
        loads = [e.buffer.space for e in walk_expressions(self.body) if isinstance(e, Load)]
        return _signature(stores, loads)

    def __str__(self) -> str:
        flags = [name if value == 1 else f"{name}={value}" for name, value in self.mode.items() if value]
        return f"{self.name}({', '.join(flags)})"


def signature(level: Level) -> Signature:
    """Return the spaces written, and those accessed as often as they are: a quick test before unification."""
    stores = [target.buffer.space for target in targets(level)]
    every = [access.buffer.space for access in accesses(level)]
    return _signature(stores, sorted((Counter(every) - Counter(stores)).elements()))


def _signature(stores: list[str], loads: list[str]) -> Signature:
    written = tuple(sorted({space for space in stores if space != "local"}))
    return written, tuple(sorted(space for space in stores + loads if space != "local"))
