"""Four pins for designs with any number of ports: shift registers around them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class ScanHarness(wiring.Component):
    """A design whose inputs come from a shift register, and whose outputs leave by another.

    All paths of the design stand between registers, so that timing is about the design and not about pins. A
    transfer takes as many cycles as there are bits; `load` hands the inputs over and takes the outputs.

    Parameters
    ----------
    design : wiring.Component

    Members
    -------
    load : In(1)
        In the cycle after the last bit.
    scan_in : In(1)
        Bits of the inputs, the last input's highest bit first.
    scan_out : Out(1)
        Bits of the outputs, the first output's lowest bit first, from three cycles after `load` on.
    """

    def __init__(self, design: wiring.Component):
        super().__init__({"load": In(1), "scan_in": In(1), "scan_out": Out(1)})
        self.design = design
        ports = [(member.flow, Value.cast(value)) for _, member, value in design.signature.flatten(design)]
        self.inputs = [value for flow, value in ports if flow is In]
        self.outputs = [value for flow, value in ports if flow is Out]

    def elaborate(self, platform):
        m = Module()
        m.submodules.design = self.design
        inputs, outputs = Cat(self.inputs), Cat(self.outputs)
        shifted, given = Signal(len(inputs)), Signal(len(inputs))
        seen, leaving = Signal(len(outputs)), Signal(len(outputs))
        load, scan_in = Signal(), Signal()
        m.d.sync += [
            load.eq(self.load),
            scan_in.eq(self.scan_in),
            shifted.eq(Cat(scan_in, shifted)),
            given.eq(Mux(load, shifted, given)),
            seen.eq(outputs),
            leaving.eq(Mux(load, seen, leaving[1:])),
            self.scan_out.eq(leaving[0]),
        ]
        m.d.comb += inputs.eq(given)
        return m
