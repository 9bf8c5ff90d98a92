# amaranth: UnusedElaboratable=no
"""The memory of the activation scratchpad: halves that are written independently."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import COLLISION_FREE, BankReadSignature, BankWriteSignature
from tilewright.hw.repeated import Repeated
from tilewright.hw.signatures import ACT_HALVES


class InterleavedBank(Repeated):
    """Two block RAMs with registered outputs, the first for even words, the second for odd ones.

    Each has a write port of its own; every read port reaches both.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words; a power of two.
    read_ports : int

    Members
    -------
    write : In(BankWriteSignature).array(ACT_HALVES)
        Of half the words each.
    read : In(BankReadSignature).array(read_ports)
    early : Out(width).array(read_ports)
        What follows at `data` in the next cycle if a word was asked for in the last; otherwise it means nothing.
    """

    def __init__(self, width: int, depth: int, read_ports: int = 1):
        self._width = width
        self._depth = depth
        self._read_ports = read_ports
        super().__init__(
            {
                "write": In(BankWriteSignature(depth // ACT_HALVES, width)).array(ACT_HALVES),
                "read": In(BankReadSignature(depth, width)).array(read_ports),
                "early": Out(width).array(read_ports),
            }
        )
        words = depth // ACT_HALVES
        self.halves = [Memory(shape=width, depth=words, init=[], attrs=COLLISION_FREE) for _ in range(ACT_HALVES)]

    @property
    def kind(self):
        return self._width, self._depth, self._read_ports

    def elaborate_one(self, platform):
        m = Module()
        for i, (half, write) in enumerate(zip(self.halves, self.write, strict=True)):
            m.submodules[f"half{i}"] = half
            inner = half.write_port()
            m.d.comb += [inner.addr.eq(write.addr), inner.data.eq(write.data), inner.en.eq(write.en)]
        for port, early in zip(self.read, self.early, strict=True):
            self._read(m, port, early)
        return m

    def _read(self, m, port, early):
        """Choose between the halves' outputs before the output register."""
        fetched = Signal(reset_less=True)
        chosen = Signal(reset_less=True)
        output = Signal(self._width, reset_less=True)
        inner = [half.read_port() for half in self.halves]
        for i, half in enumerate(inner):
            m.d.comb += [half.addr.eq(port.addr[1:]), half.en.eq(port.en & (port.addr[0] == i))]
        m.d.comb += [early.eq(Array(half.data for half in inner)[chosen]), port.data.eq(output)]
        m.d.sync += [fetched.eq(port.en), chosen.eq(port.addr[0])]
        with m.If(fetched):
            m.d.sync += output.eq(early)
