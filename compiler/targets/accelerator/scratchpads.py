"""Where things lie in the scratchpads: rings that go round, so that loads run ahead of what still computes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewright.compiler.targets.accelerator.placement import Resident
from tilewright.isa.config import Config


@dataclass
class Ring:
    """Hands out consecutive pieces of a memory whose addresses wrap.

    What is handed out stays valid until as many units again have been handed out as the memory has left; that no more
    is alive at a time is up to the tiling.
    """

    depth: int
    position: int = 0

    def take(self, count: int) -> int:
        """Return the first unit of the next `count` units."""
        first = self.position
        self.position = (first + count) % self.depth
        return first


@dataclass(frozen=True)
class Slots:
    """Equal pieces of `act` that are used in turn."""

    base: int
    size: int
    count: int

    def at(self, index: int) -> int:
        """Return the first row of the `index`-th use."""
        return self.base + index % self.count * self.size


class Scratchpads:
    """The state of all scratchpads while the layers of a launch are lowered one after the other."""

    def __init__(self, config: Config) -> None:
        self.act = Ring(config.act_rows)
        self.wgt = Ring(config.wgt_depth)
        self.acc = Ring(config.acc_depth)
        self.prm = Ring(config.prm_depth)
        self.tbl = Ring(max(1, config.epilogue.tables))

    def keep(self, resident: Resident) -> Resident:
        """Give a tensor that stays in `act` a place."""
        return replace(resident, base=self.act.take(resident.grid.size))

    def continue_after(self, resident: Resident, distance: int = 0) -> None:
        """Hand out next what lies `distance` rows behind a tensor that stays in `act`."""
        self.act.position = (resident.base + resident.grid.size + distance) % self.act.depth

    def slots(self, size: int, count: int) -> Slots:
        """Take `count` slots of `size` rows of `act`."""
        return Slots(self.act.take(size * count), size, count)
