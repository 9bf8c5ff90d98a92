"""Primitive cells of each family, in the resources that they take."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tilewright.fpga.devices import Resources

_LUT, _FF, _CARRY = Resources(lut=1), Resources(ff=1), Resources(carry=1)
_NOTHING = Resources()

#: Cells by a pattern of their whole name; the first that fits counts. Distributed memories count as the lookup tables
#: that they occupy.
_XILINX: tuple[tuple[str, Resources], ...] = (
    (r"LUT[1-6]|INV|SRL16E|SRLC16E|SRLC32E", _LUT),
    (r"FD[RSCP]E(_1)?", _FF),
    (r"CARRY[48]", _CARRY),
    (r"DSP48E[12]", Resources(dsp=1)),
    (r"RAMB36E[12]", Resources(ram=1)),
    (r"RAMB18E[12]", Resources(ram=0.5)),
    (r"RAM(32|64)X1S.*", _LUT),
    (r"RAM(32|64)X1D.*", Resources(lut=2)),
    (r"RAM(32|64)M|RAM128X1D|RAM256X1S", Resources(lut=4)),
    (r"RAM(32M16|64M8|64X8SW|256X1D|512X1S)", Resources(lut=8)),
    (r"MUXF[789]|BUFG|IBUF|OBUF|GND|VCC", _NOTHING),
)

_FAMILIES: Mapping[str, tuple[tuple[str, Resources], ...]] = {
    "xc7": _XILINX,
    "xcup": _XILINX,
    "ecp5": (
        (r"LUT4", _LUT),
        (r"TRELLIS_FF", _FF),
        (r"CCU2C", Resources(lut=2, carry=1)),
        (r"MULT18X18D|MULT18X18C", Resources(dsp=1)),
        (r"DP16KD|PDPW16KD", Resources(ram=1)),
        (r"TRELLIS_DPR16X4", Resources(lut=6)),
        (r"PFUMX|L6MUX21|TRELLIS_IO|DCCA|GSR", _NOTHING),
    ),
    "cyclonev": (
        (r"MISTRAL_ALUT6", Resources(lut=2)),
        (r"MISTRAL_ALUT[2-5]|MISTRAL_NOT", _LUT),
        (r"MISTRAL_ALUT_ARITH", Resources(lut=1, carry=1)),
        (r"MISTRAL_FF", _FF),
        (r"MISTRAL_MUL27X27", Resources(dsp=1)),
        (r"MISTRAL_MUL18X18", Resources(dsp=1 / 2)),
        (r"MISTRAL_MUL9X9", Resources(dsp=1 / 3)),
        (r"MISTRAL_M10K", Resources(ram=1)),
        (r"MISTRAL_MLAB", _LUT),
        (r"MISTRAL_(IB|OB|IO|CLKBUF|CONST)", _NOTHING),
    ),
    "gw2a": (
        (r"LUT[1-4]", _LUT),
        (r"DFF\w*", _FF),
        (r"ALU", Resources(lut=1, carry=1)),
        (r"MULT18X18", Resources(dsp=1)),
        (r"MULT9X9", Resources(dsp=1 / 2)),
        (r"(SDP|DP|SP)X?9?B?", Resources(ram=1)),
        (r"RAM16SDP[124]|RAM16S[124]|RAM16SDP\w*", Resources(lut=4)),
        (r"MUX2_LUT[5-8]|MUX2|INV|GND|VCC|GSR", _NOTHING),
    ),
}

#: Cells that are latches, in any family or before mapping.
LATCH = re.compile(r"\$a?dlatch(sr)?|\$_DLATCH.*|LDCE|LDPE|DL[NC]?[EPC]*")


def cell_resources(family: str, cell: str) -> Resources | None:
    """Return what a primitive takes; None for a cell that the family's table lacks."""
    for pattern, resources in _FAMILIES[family]:
        if re.fullmatch(pattern, cell):
            return resources
    return None
