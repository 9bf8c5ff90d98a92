"""Xilinx's 7-series: openXC7's nextpnr-xilinx and Project X-Ray, where they are installed, experimental."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilewright.fpga.devices import Device
from tilewright.fpga.open_flow import OpenFlow, Tool
from tilewright.fpga.pins import HARNESS_PINS
from tilewright.isa.errors import ToolchainError

_ADVICE = "install openXC7 (github.com/openXC7/toolchain-installer) and put its programs on the PATH"
_NEXTPNR, _TO_FRAMES, _TO_BITS = (Tool(name, _ADVICE) for name in ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit"))
_PINS, _FASM, _FRAMES, _BITSTREAM = "pins.xdc", "design.fasm", "design.frames", "design.bit"

#: Folders of Project X-Ray's database, by the beginning of devices' names.
_DATABASES = {"xc7a": "artix7", "xc7z": "zynq7"}

#: Where installations put both databases, from the folder above that of the program, or from the root.
_PLACES = ("share/nextpnr", "nextpnr", "/usr/share/nextpnr")


def flow(device: Device) -> OpenFlow:
    """Return the flow for a device.

    Raises
    ------
    ToolchainError
        If a program or the device's databases are missing.
    """
    home = Path(_NEXTPNR.find()).resolve().parent.parent
    chip, parts = _databases(device, [home / place for place in _PLACES])
    frames = ("--part", device.part, "--db-root", str(parts), _FASM, _FRAMES)
    bits = (
        "--part_file", str(parts / device.part / "part.yaml"), "--part_name", device.part,
        "--frm_file", _FRAMES, "--output_file", _BITSTREAM,
    )  # fmt: skip
    return OpenFlow(
        nextpnr=_NEXTPNR,
        arguments=("--chipdb", str(chip), "--xdc", _PINS, "--fasm", _FASM),
        script=_script,
        files={_PINS: "".join(_constraints(device))},
        pack=((_TO_FRAMES, frames), (_TO_BITS, bits)),
        bitstream=_BITSTREAM,
        note="experimental: not compared with Vivado's timing",
    )


def _script(top: str) -> tuple[str, ...]:
    return (f"synth_xilinx -family xc7 -abc9 -top {top}",)


def _constraints(device: Device) -> Iterator[str]:
    for port, pin in HARNESS_PINS[device.name].items():
        yield f"set_property LOC {pin} [get_ports {port}]\n"
        yield f"set_property IOSTANDARD LVCMOS33 [get_ports {port}]\n"


def _databases(device: Device, folders: list[Path]) -> tuple[Path, Path]:
    """Find nextpnr's database of the chip, and the folder of X-Ray's for its family."""
    names = (device.part, device.part.rpartition("-")[0], device.name)
    for folder in folders:
        parts = folder / "prjxray-db" / _DATABASES[device.name[:4]]
        for name in names:
            chip = folder / "xilinx-chipdb" / f"{name}.bin"
            if chip.is_file() and (parts / device.part).is_dir():
                return chip, parts
    searched = ", ".join(str(folder) for folder in folders)
    raise ToolchainError(
        f"no databases of {device.part} for nextpnr-xilinx: xilinx-chipdb/{names[0]}.bin (or {names[1]}.bin, "
        f"{names[2]}.bin) and prjxray-db/{_DATABASES[device.name[:4]]}/{device.part} are in none of {searched}"
    )
