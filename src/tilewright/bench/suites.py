"""The suites, by name; each is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tilewright.bench.record import Record

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.isa.config import Config
    from tilewright.sim.api import DramTiming, Simulator

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Context:
    """What all cases of a run have in common; simulators are made once."""

    config: Config
    dram: DramTiming
    progress: Progress
    _simulators: dict[str, Simulator] = field(default_factory=dict)

    def simulator(self, on: str) -> Simulator:
        """Give a simulator of the configuration."""
        from tilewright import api

        if on not in self._simulators:
            self._simulators[on] = api.simulator(on, self.config, dram=self.dram, progress=self.progress)
        return self._simulators[on]


@dataclass(frozen=True)
class Suite:
    """A named set of cases.

    Attributes
    ----------
    name, doc : str
    module : str
        Where `CASES` (names), `measure(case, context)` (gives records) and `table(records)` are; empty for a
        suite that does not exist yet.
    config : str
        Used unless another is asked for.
    missing : str
        Why there is nothing to measure yet.
    """

    name: str
    doc: str
    module: str = ""
    config: str = "16x16"
    missing: str = ""

    @property
    def cases(self) -> tuple[str, ...]:
        """Name the cases."""
        if not self.module:
            return ("all",)
        cases: tuple[str, ...] = importlib.import_module(self.module).CASES
        return cases

    def measure(self, case: str, context: Context) -> Iterator[Record]:
        """Measure one case."""
        if not self.module:
            yield Record(self.name, case, "-", "any", None, "", "lower", reason=self.missing)
            return
        yield from importlib.import_module(self.module).measure(case, context)

    def table(self, records: list[Record]) -> Table:
        """Lay the records out for people."""
        from tilewright.bench.tables import plain_table

        module = importlib.import_module(self.module) if self.module else None
        table: Callable[[list[Record]], Table] = getattr(module, "table", plain_table)
        return table(records)


SUITES = {
    suite.name: suite
    for suite in (
        Suite("accelerator", "VTA's ten convolution layers on RTL", "tilewright.bench.accelerator"),
        Suite("simulators", "how fast the simulators are", "tilewright.bench.simulators"),
        Suite("compile", "how long compiling takes", "tilewright.bench.compiling"),
        Suite("cpu", "the CPU target", missing="there is no CPU target yet"),
        Suite("gpu", "the GPU target", missing="there is no GPU target yet"),
        Suite("fpga", "synthesis and place and route", missing="there is no FPGA flow yet"),
    )
}
