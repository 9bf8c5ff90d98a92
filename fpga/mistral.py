"""Intel's Cyclone V: nextpnr-mistral, where it is installed, experimental."""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.fpga.devices import Device
from tilewright.fpga.open_flow import OpenFlow, Tool
from tilewright.fpga.pins import HARNESS_PINS

_NEXTPNR = Tool(
    "nextpnr-mistral",
    "no package has it: build nextpnr with -DARCH=mistral (github.com/YosysHQ/nextpnr), put it on the PATH",
)
_PINS, _BITSTREAM = "pins.qsf", "design.rbf"


def flow(device: Device) -> OpenFlow:
    """Return the flow for a device."""
    return OpenFlow(
        nextpnr=_NEXTPNR,
        arguments=("--device", device.part, "--qsf", _PINS, "--rbf", _BITSTREAM),
        script=_script,
        files={_PINS: "".join(_assignments(device))},
        pack=(),
        bitstream=_BITSTREAM,
        note="experimental: products are made of lookup tables, since releases of nextpnr-mistral place no DSP blocks",
    )


def _script(top: str) -> tuple[str, ...]:
    return (f"synth_intel_alm -family cyclonev -nodsp -top {top}",)


def _assignments(device: Device) -> Iterator[str]:
    for port, pin in HARNESS_PINS[device.name].items():
        yield f"set_location_assignment PIN_{pin} -to {port}\n"
        yield f'set_instance_assignment -name IO_STANDARD "3.3-V LVTTL" -to {port}\n'
