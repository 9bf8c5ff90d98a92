"""Schedules: a function, rewritten step by step by the primitives.

Each step gives a new schedule, so that a search can branch anywhere::

    tiled = Schedule(conv).split("oh", 8).reorder("oh_o", "co", "oh_i").stage_read("oh_o", "x", "act")
    program = tiled.tensorize("x_act_0", tensorizer, placement).function
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.compiler.tir.primitives.bind import bind
from tilewright.compiler.tir.primitives.compute_at import compute_at
from tilewright.compiler.tir.primitives.fuse import fuse
from tilewright.compiler.tir.primitives.loops import ScheduleError, loop_names
from tilewright.compiler.tir.primitives.parallel import parallel
from tilewright.compiler.tir.primitives.pipeline import pipeline
from tilewright.compiler.tir.primitives.reorder import reorder
from tilewright.compiler.tir.primitives.split import split
from tilewright.compiler.tir.primitives.stage import stage_read, stage_write
from tilewright.compiler.tir.primitives.tensorize import tensorize
from tilewright.compiler.tir.primitives.unroll import unroll
from tilewright.compiler.tir.primitives.vectorize import vectorize
from tilewright.compiler.tir.simplify import simplify
from tilewright.compiler.tir.tensorize import Tensorizer
from tilewright.isa.ir import Function


@dataclass(frozen=True)
class Schedule:
    """A function on its way; the primitives, documented in their own modules, as methods.

    Attributes
    ----------
    function : Function
        Equal to the one that the schedule began with.
    """

    function: Function

    @property
    def loops(self) -> list[str]:
        """The loops' names, in order of appearance."""
        return loop_names(self.function)

    def split(self, loop: str, factor: int, outer: str = "", inner: str = "") -> Schedule:
        """Split a loop: see `primitives.split`."""
        return Schedule(split(self.function, loop, factor, outer, inner))

    def fuse(self, outer: str, inner: str, name: str = "") -> Schedule:
        """Make one loop of two: see `primitives.fuse`."""
        return Schedule(fuse(self.function, outer, inner, name))

    def reorder(self, *order: str) -> Schedule:
        """Exchange loops: see `primitives.reorder`."""
        return Schedule(reorder(self.function, *order))

    def unroll(self, loop: str, expand: bool = False) -> Schedule:
        """Unroll a loop: see `primitives.unroll`."""
        return Schedule(unroll(self.function, loop, expand))

    def vectorize(self, loop: str) -> Schedule:
        """Vectorize a loop: see `primitives.vectorize`."""
        return Schedule(vectorize(self.function, loop))

    def parallel(self, loop: str) -> Schedule:
        """Run a loop on several threads: see `primitives.parallel`."""
        return Schedule(parallel(self.function, loop))

    def bind(self, loop: str, axis: str) -> Schedule:
        """Bind a loop to a hardware axis: see `primitives.bind`."""
        return Schedule(bind(self.function, loop, axis))

    def stage_read(self, loop: str, buffer: str, space: str, name: str = "") -> Schedule:
        """Read through a copy: see `primitives.stage`."""
        return Schedule(stage_read(self.function, loop, buffer, space, name))

    def stage_write(self, loop: str, buffer: str, space: str, name: str = "") -> Schedule:
        """Write through a copy: see `primitives.stage`."""
        return Schedule(stage_write(self.function, loop, buffer, space, name))

    def compute_at(self, buffer: str, loop: str) -> Schedule:
        """Compute a temporary where it is used: see `primitives.compute_at`."""
        return Schedule(compute_at(self.function, buffer, loop))

    def pipeline(self, loop: str) -> Schedule:
        """Overlap iterations: see `primitives.pipeline`."""
        return Schedule(pipeline(self.function, loop))

    def tensorize(self, loop: str, tensorizer: Tensorizer, placement: Mapping[str, int]) -> Schedule:
        """Replace a nest by an instruction: see `primitives.tensorize`."""
        return Schedule(tensorize(self.function, loop, tensorizer, placement))

    def simplify(self) -> Schedule:
        """Fold constants and drop loops of one iteration."""
        body = simplify(self.function.body)
        return Schedule(Function(self.function.name, self.function.scalars, self.function.buffers, body))


__all__ = ["Schedule", "ScheduleError"]
