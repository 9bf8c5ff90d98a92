"""The bursts of boxes in DRAM: what is ahead of both DMA engines' ports."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.axi import burst_limit
from tilewright.hw.boxes import DramBoxLayout, Space
from tilewright.hw.burst_generator import BurstGenerator, BurstLayout
from tilewright.hw.burst_queue import BurstQueue
from tilewright.hw.run_walker import RunWalker, request_bits
from tilewright.isa.config import Config


class BoxBursts(wiring.Component):
    """Walks a box's runs, cuts each into bursts, and keeps some of them until the port takes them.

    Parameters
    ----------
    config : Config
    spaces : tuple of Space
        The memories that the engine moves.

    Members
    -------
    box : In(stream of DramBoxLayout)
        Taken while the bursts of the last one are still to be sent.
    burst : Out(stream of BurstLayout)
    """

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "box": In(stream.Signature(DramBoxLayout(config, spaces))),
                "burst": Out(stream.Signature(BurstLayout(config))),
            }
        )
        limit, beats_bits = burst_limit(config), request_bits(config, spaces)
        self.runs = RunWalker(config, spaces)
        self.generator = BurstGenerator(config, limit, beats_bits)
        self.queue = BurstQueue(config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.runs = self.runs
        m.submodules.generator = self.generator
        m.submodules.queue = self.queue
        connect(m, flipped(self.box), self.runs.box)
        connect(m, self.runs.request, self.generator.request)
        connect(m, self.generator.burst, self.queue.input)
        connect(m, self.queue.output, flipped(self.burst))
        return m
