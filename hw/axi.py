"""Signatures of the two AXI ports, seen from the accelerator."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.timing import PAGE_BYTES as PAGE_BYTES
from tilewright.hw.timing import burst_limit as burst_limit
from tilewright.isa import registers
from tilewright.isa.config import Config

#: Bits of a read or write id.
ID_BITS = 1

#: Ids of the read bursts.
FETCH_ID = 0
LOAD_ID = 1

BURST_INCREMENTING = 1


def _read_members(config: Config) -> dict[str, wiring.Member]:
    return {
        **_address_channel("ar", config.bus.address_bits),
        "rid": In(ID_BITS),
        "rdata": In(config.bus.data_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write_members(config: Config) -> dict[str, wiring.Member]:
    return {
        **_address_channel("aw", config.bus.address_bits),
        "wdata": Out(config.bus.data_bits),
        "wstrb": Out(config.bus_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class AxiReadSignature(wiring.Signature):
    """The two read channels of an AXI4 master."""

    def __init__(self, config: Config):
        super().__init__(_read_members(config))


class AxiWriteSignature(wiring.Signature):
    """The three write channels of an AXI4 master."""

    def __init__(self, config: Config):
        super().__init__(_write_members(config))


class AxiMasterSignature(wiring.Signature):
    """An AXI4 master whose bursts are incrementing and made of full beats; members are named as in the standard."""

    def __init__(self, config: Config):
        super().__init__({**_read_members(config), **_write_members(config)})


def forward(m, outer, inner) -> None:
    """Connect a port of this component to the equal or smaller port `inner` of a submodule."""
    for name, member in inner.signature.members.items():
        outside, inside = getattr(outer, name), getattr(inner, name)
        if member.flow is Out:
            m.d.comb += outside.eq(inside)
        else:
            m.d.comb += inside.eq(outside)


def _address_channel(prefix: str, address_bits: int) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id": Out(ID_BITS),
        f"{prefix}addr": Out(address_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


class AxiLiteSignature(wiring.Signature):
    """An AXI4-Lite port of 32 data bits, seen from its master."""

    def __init__(self) -> None:
        super().__init__(
            {
                "awaddr": Out(registers.ADDRESS_BITS),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(registers.ADDRESS_BITS),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
