"""A small queue of bursts between an engine and its half of the AXI master."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.head_queue import HeadQueue
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
        m.submodules.queue = queue = HeadQueue(self.input.payload.shape(), DMA_BURST_QUEUE)
        connect(m, flipped(self.input), queue.input)
        connect(m, queue.output, flipped(self.output))
        return m
