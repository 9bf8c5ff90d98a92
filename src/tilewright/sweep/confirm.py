"""Confirm points: the RTL's own cycles, and synthesis instead of the area estimate."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tilewright import api
from tilewright.arrays import random_inputs
from tilewright.fpga.devices import FAMILIES
from tilewright.fpga.logic_delay import logic_delay
from tilewright.fpga.synthesis import TOP, synthesize
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sweep.area import FAMILY, Sample, describe, fit
from tilewright.sweep.models import read_model
from tilewright.sweep.study import Point, Study

#: How a point can be confirmed, in the order of cost.
LEVELS = ("rtl", "synth")

#: What synthesis measures; the delay, in nanoseconds, is that of logic without wires.
SYNTHESIZED = ("luts", "ffs", "dsps", "rams", "delay_ns")

_FILE = "confirmed.json"


@dataclass(frozen=True)
class Confirmation:
    """What confirmed a point.

    Attributes
    ----------
    rtl : mapping of str to mapping
        By model: `cycles` of the RTL, `expected` those of the cycle model, `wrong` output values that differ from the
        integer reference. Empty when the RTL was not run.
    synth : mapping of str to value
        `luts`, `ffs`, `dsps`, `rams`, `delay_ns` (of logic alone), `family`, `tool`, `stage`. Empty when not
        synthesized.
    """

    rtl: dict[str, dict[str, int]] = field(default_factory=dict)
    synth: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """What stands behind the point's figures."""
        parts = ["rtl"] * bool(self.rtl) + ["synth"] * bool(self.synth)
        return "+".join(parts) or "fast"

    @property
    def difference(self) -> int:
        """Cycles by which RTL and cycle model differ, over all models."""
        return sum(abs(one["cycles"] - one["expected"]) for one in self.rtl.values())

    @property
    def wrong(self) -> int:
        """Output values that differ from the integer reference."""
        return sum(one["wrong"] for one in self.rtl.values())


def confirmation(study: Study, number: int) -> Confirmation:
    """Return what has confirmed a point so far."""
    try:
        data = json.loads((study.trial_folder(number) / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Confirmation()
    return Confirmation(data["rtl"], data["synth"])


def confirm(study: Study, point: Point, levels: Sequence[str] = LEVELS) -> Confirmation:
    """Confirm a point, as far as that has not been done, and keep the result with it.

    Raises
    ------
    ToolchainError
        When a tool is missing or fails.
    DeviceError
        When the RTL stops with an error.
    """
    config = study.space.config(point.chosen)
    if "rtl" in levels:
        expected = study.result(point.number)["models"]
        for model in study.space.models:
            if model not in confirmation(study, point.number).rtl:
                cycles = int(expected[model]["cycles"])
                _keep(study, point, rtl={model: run_rtl(config, model, study.space.memory) | {"expected": cycles}})
    if "synth" in levels and not confirmation(study, point.number).synth:
        _keep(study, point, synth=run_synthesis(config))
    return confirmation(study, point.number)


def _keep(
    study: Study, point: Point, rtl: Mapping[str, dict[str, int]] | None = None, synth: dict[str, Any] | None = None
) -> None:
    """Add to what has confirmed a point; somebody else may have confirmed another part of it meanwhile."""
    known = confirmation(study, point.number)
    _write(study.trial_folder(point.number) / _FILE, Confirmation({**known.rtl, **(rtl or {})}, synth or known.synth))


def describe_area(study: Study, points: Sequence[Point]) -> str:
    """Say where the area metrics are from, and how they compare with the points that have been synthesized."""
    done = [point for point in points if point.state == "done"]
    known = {point.number: confirmation(study, point.number).synth for point in done}
    samples = [Sample(study.space.config(p.chosen), known[p.number]) for p in done if known[p.number]]
    return describe(fit(samples), len(samples))


def run_rtl(config: Config, model: str, memory: DramTiming) -> dict[str, int]:
    """Run a model on the RTL with seeded random inputs: `cycles`, and `wrong` output values."""
    compiled = api.compile(read_model(model), config)
    inputs = random_inputs(compiled.inputs, zlib.crc32(model.encode()))
    result = compiled.run(inputs, on="rtl", dram=memory, host="reference")
    wrong = compiled.count_differences(inputs, result.outputs)
    return {"cycles": result.report.cycles or 0, "wrong": sum(wrong.values())}


def run_synthesis(config: Config) -> dict[str, Any]:
    """Synthesize a configuration for the family of the area metrics."""
    family, store = FAMILIES[FAMILY], Cache(user_cache() / "fpga")
    result = synthesize(instruction_set(config), family, store)
    total, delay = result.total, logic_delay(result.netlist, TOP, family, store)
    return {
        "luts": total.lut, "ffs": total.ff, "dsps": total.dsp, "rams": total.ram,
        "delay_ns": None if delay is None else delay.ns,
        "family": FAMILY, "tool": f"{result.tool} {result.version}", "stage": result.stage,
    }  # fmt: skip


def _write(path: Path, result: Confirmation) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    part.replace(path)
