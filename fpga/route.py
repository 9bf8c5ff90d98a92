"""Place and route by open flows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amaranth.lib import wiring

from tilewright.fpga import ecp5, gowin, mistral, openxc7
from tilewright.fpga.devices import Device
from tilewright.fpga.open_flow import OpenFlow
from tilewright.fpga.routed import Routed
from tilewright.fpga.store import Store
from tilewright.hw.accelerator import Accelerator
from tilewright.hw.elaborate import component_rtlil
from tilewright.hw.scan_harness import ScanHarness
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import InstructionSet

_TOP = "harness"

#: Flows by family.
FLOWS: Mapping[str, Callable[[Device], OpenFlow]] = {
    "ecp5": ecp5.flow,
    "gw2a": gowin.flow,
    "cyclonev": mistral.flow,
    "xc7": openxc7.flow,
}


def place_and_route(
    isa: InstructionSet, device: Device, store: Store, *,
    seed: int = 1, speed: int | None = None, target_mhz: float = 100,
) -> Routed:  # fmt: skip
    """Place and route the accelerator in a scan harness; what was done before comes from the store.

    Parameters
    ----------
    isa : InstructionSet
    device : Device
    store : Store
    seed : int
        Where placement begins.
    speed : int, optional
        Speed grade of an ECP5, by default the slowest; other devices' is part of their name.
    target_mhz : float

    Raises
    ------
    ConfigError
        For a device that no open flow is for, or a speed grade that it does not come in.
    ToolchainError
        If a tool is missing or fails: a design that does not fit, too.
    """
    return route_component(Accelerator(isa), device, store, seed=seed, speed=speed, target_mhz=target_mhz)


def route_component(
    design: wiring.Component, device: Device, store: Store, *,
    seed: int = 1, speed: int | None = None, target_mhz: float = 100,
) -> Routed:  # fmt: skip
    """Place and route any component in a scan harness; see `place_and_route`."""
    flow = flow_of(device, speed)
    return flow.route(component_rtlil(ScanHarness(design), _TOP), _TOP, store, seed=seed, target_mhz=target_mhz)


def flow_of(device: Device, speed: int | None = None) -> OpenFlow:
    """Return the flow for a device; see `place_and_route` for what is raised."""
    family = device.family.name
    if family not in FLOWS:
        raise ConfigError(
            f"no open flow places and routes {family} devices such as `{device.name}` (those that have one: "
            f"{', '.join(FLOWS)}); `tilewright project` writes projects for vendors' tools"
        )
    if speed is None:
        return FLOWS[family](device)
    if family != "ecp5" or speed not in ecp5.SPEEDS:
        grades = ", ".join(map(str, ecp5.SPEEDS))
        raise ConfigError(
            f"no speed grade {speed} of `{device.name}`: ECP5 comes in {grades}, others in their part's ({device.part})"
        )
    return ecp5.flow(device, speed)
