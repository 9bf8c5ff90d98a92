"""A small queue of bursts between an engine and its half of the AXI master."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.timing import DMA_BURST_QUEUE
from tilewright.isa.config import Config


class BurstQueue(wiring.Component):
    """Lets an engine cut bursts ahead, and keeps the bus's `ready` off its paths.

    Members
    -------
    input : In(stream of BurstLayout)
    output : Out(stream of BurstLayout)
        One cycle later at the earliest.
    """

    def __init__(self, config: Config):
        layout = BurstLayout(config)
        super().__init__({"input": In(stream.Signature(layout)), "output": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFO(width=len(self.input.payload.as_value()), depth=DMA_BURST_QUEUE)
        m.d.comb += [
            queue.w_data.eq(self.input.payload),
            queue.w_en.eq(self.input.valid),
            self.input.ready.eq(queue.w_rdy),
            self.output.payload.eq(queue.r_data),
            self.output.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.output.ready),
        ]
        return m
