"""Harnesses of what carries data: queues keep order and lose nothing, and hold what they offer."""

from __future__ import annotations

from abc import abstractmethod

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered

from tests.formal.prover import Harness
from tilewright.hw.burst_queue import BurstQueue
from tilewright.hw.stream_buffer import StreamBuffer
from tilewright.isa.config import PRESETS

#: Bits of the numbers sent; parts that hold fewer words than there are numbers cannot confuse any two.
NUMBER_BITS = 3


class Order(Harness):
    """Numbers in counting order go in; they must come out in counting order.

    `broken`: the receiver sometimes takes a word without the part being told.
    """

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        self.offer, self.take = self.free(1, "offer"), self.free(1, "take")
        self.hidden = self.free(1, "hidden")

    def build(self, m: Module) -> None:
        sent, received = Signal(NUMBER_BITS), Signal(NUMBER_BITS)
        ready, number, valid = self.connected(m, sent)
        m.d.sync += sent.eq(sent + (self.offer & ready))
        taken = valid & self.take
        m.d.sync += received.eq(received + taken + (self.hidden & valid & ~self.take if self.broken else 0))
        self.promise(~valid | (number[:NUMBER_BITS] == received))
        was_held, held = Signal(), Signal(NUMBER_BITS)
        m.d.sync += [was_held.eq(valid & ~self.take), held.eq(number)]
        self.promise(~was_held | (valid & (number[:NUMBER_BITS] == held)))

    @abstractmethod
    def connected(self, m: Module, sent: Signal) -> tuple[Signal, Signal, Signal]:
        """Add the part, offered `sent`; return its ready, and the number and the valid that it offers."""


class BufferOrder(Order):
    def connected(self, m: Module, sent: Signal) -> tuple[Signal, Signal, Signal]:
        m.submodules.part = part = StreamBuffer(NUMBER_BITS)
        m.d.comb += [part.input.payload.eq(sent), part.input.valid.eq(self.offer), part.output.ready.eq(self.take)]
        return part.input.ready, part.output.payload, part.output.valid


class BurstQueueOrder(Order):
    def connected(self, m: Module, sent: Signal) -> tuple[Signal, Signal, Signal]:
        m.submodules.part = part = BurstQueue(PRESETS["tiny"])
        m.d.comb += [
            part.input.payload.beat.eq(sent),
            part.input.valid.eq(self.offer),
            part.output.ready.eq(self.take),
        ]
        return part.input.ready, part.output.payload.beat[:NUMBER_BITS], part.output.valid


class FifoOrder(Order):
    """Amaranth's queues, of which what ports and engines remember is made, and fetch's buffer."""

    kind = SyncFIFO

    def connected(self, m: Module, sent: Signal) -> tuple[Signal, Signal, Signal]:
        m.submodules.part = part = self.kind(width=NUMBER_BITS, depth=4)
        m.d.comb += [part.w_data.eq(sent), part.w_en.eq(self.offer), part.r_en.eq(self.take)]
        return part.w_rdy, Mux(part.r_rdy, part.r_data, 0), part.r_rdy


class BufferedFifoOrder(FifoOrder):
    kind = SyncFIFOBuffered
