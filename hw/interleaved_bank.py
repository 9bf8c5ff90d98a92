# amaranth: UnusedElaboratable=no
"""The memory of the activation scratchpad: two halves, which are written independently."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from tilewright.hw.memory_bank import BankReadSignature, BankWriteSignature
from tilewright.hw.repeated import Repeated

#: Even words are in the first half, odd ones in the second.
HALVES = 2


class InterleavedBank(Repeated):
    """A block RAM with registered outputs in two halves of half the words, by the lowest bit of the address.

    Two words are written in the same cycle where one is even and the other odd. Every read port reaches all words.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words; a power of two, at least four.
    read_ports : int

    Members
    -------
    write : In(BankWriteSignature).array(2)
        Of two writes to one half in one cycle only the first is done.
    read : In(BankReadSignature).array(read_ports)
    """

    def __init__(self, width: int, depth: int, read_ports: int = 1):
        self._width = width
        self._depth = depth
        self._read_ports = read_ports
        super().__init__(
            {
                "write": In(BankWriteSignature(depth, width)).array(HALVES),
                "read": In(BankReadSignature(depth, width)).array(read_ports),
            }
        )
        self.halves = [Memory(shape=width, depth=depth // HALVES, init=[]) for _ in range(HALVES)]

    @property
    def kind(self):
        return self._width, self._depth, self._read_ports

    def elaborate_one(self, platform):
        m = Module()
        for i, half in enumerate(self.halves):
            m.submodules[f"half{i}"] = half
            self._write(m, i, half.write_port())
        for port in self.read:
            self._read(m, port)
        return m

    def _write(self, m, index, inner):
        first, second = self.write
        is_first = first.en & (first.addr[0] == index)
        m.d.comb += [
            inner.addr.eq(Mux(is_first, first.addr[1:], second.addr[1:])),
            inner.data.eq(Mux(is_first, first.data, second.data)),
            inner.en.eq(is_first | (second.en & (second.addr[0] == index))),
        ]

    def _read(self, m, port):
        """Choose between the halves' outputs before the output register."""
        fetched = Signal(reset_less=True)
        chosen = Signal(reset_less=True)
        output = Signal(self._width, reset_less=True)
        inner = [half.read_port() for half in self.halves]
        for i, half in enumerate(inner):
            m.d.comb += [half.addr.eq(port.addr[1:]), half.en.eq(port.en & (port.addr[0] == i))]
        m.d.comb += port.data.eq(output)
        m.d.sync += [fetched.eq(port.en), chosen.eq(port.addr[0])]
        with m.If(fetched):
            m.d.sync += output.eq(Mux(chosen, inner[1].data, inner[0].data))
