"""When compute instructions complete and read entries, in steps of the pipeline; it issues one a cycle at most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tilewright.isa.config import Config
from tilewright.isa.footprint import Entries, operand_walk
from tilewright.isa.instructions import Opcode
from tilewright.isa.order import STEPWISE, compute_steps, result_steps
from tilewright.isa.semantics import OUT_LOOPS, memories


class PipelineSteps:
    """The step after which each entry of `acc` and `act` was complete, for what compute wrote.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self._issued = 0
        sizes = {name: memories(config)[name].shape[0] for name in ("acc", "act")}
        self._completed = {name: np.zeros(size, np.int64) for name, size in sizes.items()}

    def distance(self, opcode: Opcode, values: Mapping[str, int], space: str, entries: Entries) -> Entries:
        """Return, for entries that the next instruction reads, how many steps at least after their completion."""
        if space not in self._completed:
            return np.zeros(len(entries), np.int64)
        return self._issued + self._first_reads(opcode, values, space)[entries] - self._completed[space][entries]

    def _first_reads(self, opcode: Opcode, values: Mapping[str, int], space: str) -> Entries:
        """Return the first step of the instruction in which it may read each entry."""
        depth = len(self._completed[space])
        if space != "acc" or opcode not in STEPWISE or not values["accumulate"]:
            return np.zeros(depth, np.int64)
        addends = operand_walk(values, "b", OUT_LOOPS) % depth
        first = np.full(depth, compute_steps(values))
        np.minimum.at(first, addends, np.arange(len(addends)) * result_steps(values))
        return first

    def record(self, opcode: Opcode, values: Mapping[str, int], writes: Mapping[str, Entries]) -> None:
        """Note that a compute instruction was issued, and what it completes."""
        end = self._issued + compute_steps(values)
        for space, entries in writes.items():
            self._completed[space][entries] = end - 1
        if "acc" in writes and opcode in STEPWISE:
            results = operand_walk(values, "d", OUT_LOOPS) % len(self._completed["acc"])
            complete = self._issued + np.arange(1, len(results) + 1) * result_steps(values) - 1
            self._completed["acc"][results] = 0
            np.maximum.at(self._completed["acc"], results, complete)
        self._issued = end
