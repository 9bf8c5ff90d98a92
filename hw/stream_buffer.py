"""A register stage that cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamBuffer(wiring.Component):
    """Two registers deep: one transfer a cycle, a latency of one cycle, `valid`, payload and `ready` out of registers.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    input : In(stream)
    output : Out(stream)
    """

    def __init__(self, shape):
        super().__init__({"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))})
        self._shape = shape

    def elaborate(self, platform):
        m = Module()
        spare = Signal(self._shape)
        spare_valid = Signal()
        output_free = Signal()

        m.d.comb += [
            self.input.ready.eq(~spare_valid),
            output_free.eq(~self.output.valid | self.output.ready),
        ]
        with m.If(self.input.ready):
            m.d.sync += spare.eq(self.input.payload)
        with m.If(output_free):
            m.d.sync += [
                spare_valid.eq(0),
                self.output.valid.eq(spare_valid | self.input.valid),
            ]
            with m.If(spare_valid):
                m.d.sync += self.output.payload.eq(spare)
            with m.Else():
                m.d.sync += self.output.payload.eq(self.input.payload)
        with m.Elif(self.input.valid & self.input.ready):
            m.d.sync += spare_valid.eq(1)
        return m
