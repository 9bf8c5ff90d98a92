"""What Yosys counted in a design of several modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar


class Amounts(Protocol):
    """What can be added up."""

    def __add__(self, other: Self) -> Self:
        """Add."""
        ...

    def __mul__(self, count: int) -> Self:
        """Take several times."""
        ...


AmountsT = TypeVar("AmountsT", bound=Amounts)

#: How many cells of each kind, submodules among them, each module has itself.
Modules = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ModuleUse(Generic[AmountsT]):
    """One module after synthesis.

    Attributes
    ----------
    name : str
    count : int
        Instances.
    own : Resources or GateArea
        Of one instance without its submodules.
    total : Resources or GateArea
        Of one instance with its submodules.
    """

    name: str
    count: int
    own: AmountsT
    total: AmountsT


def cells_by_module(statistics: Mapping[str, Any]) -> Modules:
    """Read `stat -json`."""
    modules = statistics["modules"].items()
    return {name.removeprefix("\\"): module["num_cells_by_type"] for name, module in modules}


def instances(modules: Modules, top: str) -> Counter[str]:
    """Count the instances of each module within one of `top`, which is itself the first of them."""
    counts = Counter({top: 1})
    for cell, number in modules[top].items():
        if cell in modules:
            counts.update({name: count * number for name, count in instances(modules, cell).items()})
    return counts


def primitives(modules: Modules, top: str) -> dict[str, int]:
    """Count the cells of the whole design that are no modules."""
    counts: Counter[str] = Counter()
    for name, count in instances(modules, top).items():
        counts.update({cell: count * number for cell, number in modules[name].items() if cell not in modules})
    return dict(counts)


def with_submodules(modules: Modules, own: Mapping[str, AmountsT], top: str, nothing: AmountsT) -> AmountsT:
    """Add up what the modules within one instance of `top` take themselves, `top` included."""
    total = nothing
    for name, count in instances(modules, top).items():
        total += own[name] * count
    return total


def module_uses(
    modules: Modules, own: Mapping[str, AmountsT], top: str, nothing: AmountsT
) -> list[ModuleUse[AmountsT]]:
    """Tell what each module within `top` takes, those left out that take nothing."""
    uses = (
        ModuleUse(name, count, own[name], with_submodules(modules, own, name, nothing))
        for name, count in instances(modules, top).items()
    )
    return [use for use in uses if use.total != nothing]
