# amaranth: UnusedElaboratable=no
"""The memory that all scratchpads are made of."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.hw.repeated import Repeated
from tilewright.hw.signatures import address_bits

#: Tells synthesis that no word is read in the cycle in which it is written, or that what is read then does not matter:
#: otherwise it puts a register for the last write, a comparison and a multiplexer around a block RAM.
COLLISION_FREE = {"no_rw_check": 1}


class BankReadSignature(wiring.Signature):
    """A read port: `data` follow `timing.MEMORY_READ_CYCLES` after `addr` with `en`; without, they stay, or are 0."""

    def __init__(self, depth: int, width: int):
        super().__init__({"addr": Out(address_bits(depth)), "en": Out(1), "data": In(width)})


class BankWriteSignature(wiring.Signature):
    """A write port: written in the cycle of `en`, readable from the next one on."""

    def __init__(self, depth: int, width: int):
        super().__init__({"addr": Out(address_bits(depth)), "en": Out(1), "data": Out(width)})


class MemoryBank(Repeated):
    """A block RAM with registered outputs: one write port, any number of read ports (a copy of the RAM for each).

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.
    read_ports : int
    clearing_ports : int
        So many of the last ports give 0 where they were not read, the others keep what they gave.

    Members
    -------
    write : In(BankWriteSignature)
    read : In(BankReadSignature).array(read_ports)
    """

    def __init__(self, width: int, depth: int, read_ports: int = 1, clearing_ports: int = 0):
        self._width = width
        self._depth = depth
        self._read_ports = read_ports
        self._keeping_ports = read_ports - clearing_ports
        super().__init__(
            {
                "write": In(BankWriteSignature(depth, width)),
                "read": In(BankReadSignature(depth, width)).array(read_ports),
            }
        )
        self.memory = Memory(shape=width, depth=depth, init=[], attrs=COLLISION_FREE)

    @property
    def kind(self):
        return self._width, self._depth, self._read_ports, self._keeping_ports

    def elaborate_one(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        write = self.memory.write_port()
        m.d.comb += [write.addr.eq(self.write.addr), write.en.eq(self.write.en), write.data.eq(self.write.data)]
        for i, port in enumerate(self.read):
            inner = self.memory.read_port()
            fetched = Signal(reset_less=True)
            output = Signal(self._width, reset_less=True)
            m.d.comb += [inner.addr.eq(port.addr), inner.en.eq(port.en), port.data.eq(output)]
            m.d.sync += fetched.eq(port.en)
            with m.If(fetched):
                m.d.sync += output.eq(inner.data)
            if i >= self._keeping_ports:
                with m.Else():
                    m.d.sync += output.eq(0)
        return m
