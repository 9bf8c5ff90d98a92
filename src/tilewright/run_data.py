"""All figures of a run as data: the report, the engines' cycles by cause, counts and energy, by layer and in total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.execution import placed_layers

if TYPE_CHECKING:
    from tilewright.api import Compiled, Run
    from tilewright.sim.energy import EnergyTable
    from tilewright.sim.trace.profile import Profile


def run_data(compiled: Compiled, result: Run, table: EnergyTable | None = None) -> dict[str, Any]:
    """Give all figures of a run, for JSON.

    Parameters
    ----------
    compiled : Compiled
        What was run.
    result : Run
    table : EnergyTable, optional
        By default the one that ships with Tilewright.
    """
    from tilewright.sim.energy import EnergyTable
    from tilewright.sim.trace.profile import profile_run

    table = table or EnergyTable.default()
    profile = profile_run(compiled.program, result.launches)
    data = result.report.as_data()
    for (index, _), layer in zip(placed_layers(compiled.program), data["layers"], strict=True):
        if index is not None:
            layer |= _figures(compiled, profile.layers[index], table, layer["cycles"])
    energy = {"table": table.name, "source": table.source}
    total = _figures(compiled, profile.total, table, result.report.cycles)
    return {**data, **total, "energy": {**energy, **total["energy"]}}


def _figures(compiled: Compiled, profile: Profile, table: EnergyTable, cycles: int | None) -> dict[str, Any]:
    parts = table.estimate(compiled.config, profile.counts, cycles)
    return {**profile.as_data(), "energy": {"picojoules": parts, "total_picojoules": sum(parts.values())}}
