"""The suites, by name; each is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.bench.record import Record

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.isa.config import Config
    from tilewright.sim.api import DramTiming, Simulator

#: Where models lie that are not part of the project: beside the repository.
MODELS = Path(__file__).resolve().parents[3].parent / "shared" / "models"

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Context:
    """What all cases of a run have in common; simulators are made once.

    Attributes
    ----------
    config : Config
    dram : DramTiming
    progress : Progress
    on : str
        Simulator that counts the cycles of `accelerator`.
    models : Path
        Folder of models that are not part of the project.
    is_config_asked : bool
        Use `config` even for a case that has one of its own.
    results : dict
        What cases keep for others.
    """

    config: Config
    dram: DramTiming
    progress: Progress
    on: str = "rtl"
    models: Path = MODELS
    is_config_asked: bool = True
    results: dict[Hashable, object] = field(default_factory=dict)
    _simulators: dict[Hashable, Simulator] = field(default_factory=dict)

    def simulator(self, on: str) -> Simulator:
        """Give a simulator of the configuration."""
        from tilewright import api

        key = (on, self.config.hash, self.dram)
        if key not in self._simulators:
            self._simulators[key] = api.simulator(on, self.config, dram=self.dram, progress=self.progress)
        return self._simulators[key]

    def for_config(self, config: Config, is_scaled: bool = False) -> Context:
        """Give the context of a case that has its own configuration, unless one was asked for.

        Where `is_scaled`, the memory moves more or fewer bytes a cycle than asked for, as the configuration's bus is
        wider or narrower than that asked for.
        """
        if self.is_config_asked:
            return self
        scaled = max(1, self.dram.bytes_per_cycle * config.bus_bytes // self.config.bus_bytes)
        return replace(self, config=config, dram=replace(self.dram, bytes_per_cycle=scaled) if is_scaled else self.dram)


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
        Suite("accelerator", "layers and networks, in cycles of the RTL", "tilewright.bench.accelerator"),
        Suite("simulators", "how fast the simulators are", "tilewright.bench.simulators"),
        Suite("compile", "how long compiling takes", "tilewright.bench.compiling"),
        Suite("cpu", "the CPU target beside other runtimes: networks, in milliseconds", "tilewright.bench.cpu"),
        Suite("gpu", "the GPU target: matrix products and networks, in milliseconds", "tilewright.bench.gpu"),
        Suite("fpga", "synthesis and place and route", "tilewright.bench.fpga"),
    )
}
