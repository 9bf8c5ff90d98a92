"""The accumulator scratchpad."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.signatures import address_bits
from tilewright.isa.config import Config


class AccReadSignature(wiring.Signature):
    """A read port; `lanes` (batch-major) follow `timing.MEMORY_READ_CYCLES` after the address."""

    def __init__(self, config: Config):
        lane = In(signed(config.gemm.acc_bits))
        super().__init__(
            {"addr": Out(address_bits(config.acc_depth)), "en": Out(1), "lanes": lane.array(config.acc_lanes)}
        )


class AccWriteSignature(wiring.Signature):
    """The write port; written in the cycle of `en`, readable from the next one on."""

    def __init__(self, config: Config):
        lane = Out(signed(config.gemm.acc_bits))
        super().__init__(
            {"addr": Out(address_bits(config.acc_depth)), "en": Out(1), "lanes": lane.array(config.acc_lanes)}
        )


class AccumulatorScratchpad(wiring.Component):
    """`acc_depth` entries of `batch * block_out` accumulators of `acc_bits`, one bank a lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    operand : In(AccReadSignature)
        Operand `a` of vector instructions.
    addend : In(AccReadSignature)
        Partial sums for the epilogue, 0 where none is read; apart from `operand`, as it reads at another depth of the
        pipeline.
    write : In(AccWriteSignature)
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "operand": In(AccReadSignature(config)),
                "addend": In(AccReadSignature(config)),
                "write": In(AccWriteSignature(config)),
            }
        )
        lanes = range(config.acc_lanes)
        self.banks = [MemoryBank(config.gemm.acc_bits, config.acc_depth, read_ports=2, clearing_ports=1) for _ in lanes]

    def elaborate(self, platform):
        m = Module()
        for lane, bank in enumerate(self.banks):
            m.submodules[f"bank{lane}"] = bank
            m.d.comb += [
                bank.write.addr.eq(self.write.addr),
                bank.write.en.eq(self.write.en),
                bank.write.data.eq(self.write.lanes[lane]),
            ]
            for inner, port in zip(bank.read, (self.operand, self.addend), strict=True):
                m.d.comb += [
                    inner.addr.eq(port.addr),
                    inner.en.eq(port.en),
                    port.lanes[lane].eq(inner.data.as_signed()),
                ]
        return m
