"""What is said about a configuration on a device, with where the figures are from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilewright.fpga.devices import BUDGETED, Device, Resources
from tilewright.fpga.estimate import ESTIMATE_STAGE, estimate, shortages
from tilewright.fpga.hierarchy import ModuleUse
from tilewright.fpga.logic_delay import STAGE, LogicDelay, logic_delay
from tilewright.fpga.store import Store
from tilewright.fpga.synthesis import TOP, synthesize
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set


@dataclass(frozen=True)
class SynthesisReport:
    """Resources of a configuration on a device.

    Attributes
    ----------
    config : Config
    device : Device
    tool, version, stage : str
        Where the figures are from.
    total : Resources
    modules : tuple of ModuleUse
    netlist : Path or None
    delay : LogicDelay or None
        Of logic alone; None where nothing was synthesized or the family's cells have no delays.
    """

    config: Config
    device: Device
    tool: str
    version: str
    stage: str
    total: Resources
    modules: tuple[ModuleUse[Resources], ...] = ()
    netlist: Path | None = None
    delay: LogicDelay | None = None

    @property
    def fits(self) -> bool:
        """Whether the device has enough of everything."""
        return not shortages(self.total, self.device)

    def rows(self) -> Iterator[tuple[str, float, float | None]]:
        """Yield each resource's name, what is taken, and what there is."""
        family = self.device.family
        names = {"lut": family.lut_name, "ff": "FF", "dsp": family.dsp_name, "ram": family.ram_name, "carry": "carry"}
        for kind, name in names.items():
            budget = getattr(self.device.budget, kind) if kind in BUDGETED else None
            yield name, getattr(self.total, kind), budget
        if self.delay is not None:
            start, end = self.delay.ends
            yield f"ns of logic, without wires, from {start} to {end}", self.delay.ns, None

    def as_data(self) -> dict[str, Any]:
        """Give the report for JSON; a seed is there where a tool takes one, which synthesis does not."""
        return {
            "tool": self.tool,
            "version": self.version,
            "stage": self.stage,
            "seed": None,
            "config": self.config.name,
            "config_hash": self.config.hash,
            "device": self.device.name,
            "part": self.device.part,
            "fits": self.fits,
            "total": asdict(self.total),
            "budget": {kind: getattr(self.device.budget, kind) for kind in BUDGETED},
            "modules": [asdict(use) for use in self.modules],
            "logic_delay": None if self.delay is None else {"stage": STAGE, **asdict(self.delay)},
        }


def estimated(config: Config, device: Device) -> SynthesisReport:
    """Estimate from the configuration alone."""
    return SynthesisReport(config, device, "tilewright", "", ESTIMATE_STAGE, estimate(config, device.family))


def synthesized(config: Config, device: Device, store: Store) -> SynthesisReport:
    """Synthesize; see `synthesis.synthesize` for what is raised."""
    found = synthesize(instruction_set(config), device.family, store)
    delay = logic_delay(found.netlist, TOP, device.family, store)
    return SynthesisReport(
        config, device, found.tool, found.version, found.stage, found.total, found.modules, found.netlist, delay
    )
