"""FPGA devices: what they have, and the families that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from tilewright.isa.errors import InputError


@dataclass(frozen=True)
class Resources:
    """Amounts of what an FPGA is made of.

    Attributes
    ----------
    lut : float
        Lookup tables, of the family's own size; memories and shift registers made of them included.
    ff : float
        Flip-flops.
    carry : float
        Carry cells.
    dsp : float
        Multiplier blocks; a block that is used partly counts partly.
    ram : float
        Block RAMs; a block that is used by half counts half.
    """

    lut: float = 0
    ff: float = 0
    carry: float = 0
    dsp: float = 0
    ram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, count: float) -> Resources:
        return Resources(*(getattr(self, f.name) * count for f in fields(self)))


#: What is compared with a device's budget; carry cells come with lookup tables.
BUDGETED = ("lut", "ff", "dsp", "ram")


@dataclass(frozen=True)
class Family:
    """What devices of a kind have in common.

    Attributes
    ----------
    name : str
    lut_name, dsp_name, ram_name : str
        What the vendor calls them.
    ram_shapes : tuple of (depth, width)
        Shapes of a block RAM with a write port and a read port, deepest last.
    multipliers : tuple of (bits, bits, part)
        Signed multipliers that a DSP block offers, smallest first, and the part of the block that each takes.
    soft_multipliers : tuple of str
        Components whose multipliers are made of lookup tables, for want of DSP blocks.
    """

    name: str
    lut_name: str
    dsp_name: str
    ram_name: str
    ram_shapes: tuple[tuple[int, int], ...]
    multipliers: tuple[tuple[int, int, float], ...]
    soft_multipliers: tuple[str, ...] = ()


_SHAPES_18K = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_XILINX_SHAPES = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))

FAMILIES: Mapping[str, Family] = {
    f.name: f
    for f in (
        Family("xc7", "LUT6", "DSP48E1", "RAMB36", _XILINX_SHAPES, ((18, 25, 1),)),
        Family("xcup", "LUT6", "DSP48E2", "RAMB36", _XILINX_SHAPES, ((18, 27, 1),)),
        Family(
            "cyclonev", "ALUT", "DSP block", "M10K",
            ((256, 40), (512, 20), (1024, 10), (2048, 5), (4096, 2), (8192, 1)),
            ((9, 9, 1 / 3), (18, 18, 1 / 2), (27, 27, 1)),
            ("ResidualAdder", "VectorLane"),
        ),
        Family("ecp5", "LUT4", "MULT18X18D", "DP16KD", _SHAPES_18K, ((18, 18, 1),)),
        Family("gw2a", "LUT4", "MULT18X18", "BSRAM", _SHAPES_18K, ((9, 9, 1 / 2), (18, 18, 1))),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Device:
    """One FPGA.

    Attributes
    ----------
    name : str
        Short name, as `--target` takes it.
    part : str
        The vendor's full name, package and speed grade included.
    family : Family
    budget : Resources
    """

    name: str
    part: str
    family: Family
    budget: Resources


def _device(name: str, part: str, family: str, lut: int, ff: int, dsp: int, ram: int) -> Device:
    return Device(name, part, FAMILIES[family], Resources(lut=lut, ff=ff, dsp=dsp, ram=ram))


#: Figures are the vendors' data sheets'; an ALM of Intel's counts as two ALUTs.
DEVICES: Mapping[str, Device] = {
    d.name: d
    for d in (
        _device("xc7a35t", "xc7a35ticsg324-1L", "xc7", 20800, 41600, 90, 50),
        _device("xc7a100t", "xc7a100tcsg324-1", "xc7", 63400, 126800, 240, 135),
        _device("xc7z010", "xc7z010clg400-1", "xc7", 17600, 35200, 80, 60),
        _device("xc7z020", "xc7z020clg400-1", "xc7", 53200, 106400, 220, 140),
        _device("xczu3eg", "xczu3eg-sbva484-1-i", "xcup", 70560, 141120, 360, 216),
        _device("xczu7ev", "xczu7ev-ffvc1156-2-e", "xcup", 230400, 460800, 1728, 312),
        _device("xck26", "xck26-sfvc784-2LV-c", "xcup", 117120, 234240, 1248, 144),
        _device("5cseba6", "5CSEBA6U23I7", "cyclonev", 83820, 167640, 112, 553),
        _device("5csema5", "5CSEMA5F31C6", "cyclonev", 64140, 128280, 87, 397),
        _device("5ceba4", "5CEBA4F23C7", "cyclonev", 36960, 73920, 66, 308),
        _device("lfe5u-25f", "LFE5U-25F-6CABGA381", "ecp5", 24288, 24288, 28, 56),
        _device("lfe5u-45f", "LFE5U-45F-6CABGA381", "ecp5", 43848, 43848, 72, 108),
        _device("lfe5u-85f", "LFE5U-85F-6CABGA381", "ecp5", 83640, 83640, 156, 208),
        _device("gw2a-18", "GW2A-LV18PG256C8/I7", "gw2a", 20736, 15552, 48, 46),
    )
}


def find_device(name: str) -> Device:
    """Return the device of that short name.

    Raises
    ------
    InputError
        For an unknown one, naming the known ones.
    """
    try:
        return DEVICES[name.lower()]
    except KeyError:
        raise InputError(f"no device `{name}`; known: {', '.join(DEVICES)}") from None
