"""The accumulator scratchpad."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.signatures import address_bits
from tilewright.hw.turns import is_turn, lanes_of, turn_bits, turn_of
from tilewright.isa.config import Config


class AccReadSignature(wiring.Signature):
    """A read port; `lanes` (batch-major) follow `timing.MEMORY_READ_CYCLES` after the address."""

    def __init__(self, config: Config):
        lane = In(signed(config.gemm.acc_bits))
        super().__init__(
            {"addr": Out(address_bits(config.acc_depth)), "en": Out(1), "lanes": lane.array(config.acc_lanes)}
        )


class AddendReadSignature(wiring.Signature):
    """A read port for the lanes that have their `turn`; they follow `timing.MEMORY_READ_CYCLES` after the address."""

    def __init__(self, config: Config):
        lane = In(signed(config.gemm.acc_bits))
        address = {"addr": Out(address_bits(config.acc_depth)), "turn": Out(turn_bits(config)), "en": Out(1)}
        super().__init__({**address, "lanes": lane.array(config.turn_lanes)})


class AccWriteSignature(wiring.Signature):
    """The write port for the lanes that have their `turn`; written in the cycle of `en`, readable from the next on."""

    def __init__(self, config: Config):
        lane = Out(signed(config.gemm.acc_bits))
        address = {"addr": Out(address_bits(config.acc_depth)), "turn": Out(turn_bits(config)), "en": Out(1)}
        super().__init__({**address, "lanes": lane.array(config.turn_lanes)})


class AccumulatorScratchpad(wiring.Component):
    """`acc_depth` entries of `batch * block_out` accumulators of `acc_bits`, one bank a lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    operand : In(AccReadSignature)
        Operand `a` of vector instructions.
    addend : In(AddendReadSignature)
        Partial sums for the epilogue, 0 where none is read; apart from `operand`, as it reads at another depth of the
        pipeline.
    write : In(AccWriteSignature)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "operand": In(AccReadSignature(config)),
                "addend": In(AddendReadSignature(config)),
                "write": In(AccWriteSignature(config)),
            }
        )
        lanes = range(config.acc_lanes)
        self.banks = [MemoryBank(config.gemm.acc_bits, config.acc_depth, read_ports=2, clearing_ports=1) for _ in lanes]

    def elaborate(self, platform):
        m = Module()
        for lane, bank in enumerate(self.banks):
            m.submodules[f"bank{lane}"] = bank
            turn, place = turn_of(self._config, lane)
            operand, addend = bank.read
            m.d.comb += [
                bank.write.addr.eq(self.write.addr),
                bank.write.en.eq(self.write.en & is_turn(self._config, self.write.turn, turn)),
                bank.write.data.eq(self.write.lanes[place]),
                operand.addr.eq(self.operand.addr),
                operand.en.eq(self.operand.en),
                self.operand.lanes[lane].eq(operand.data.as_signed()),
                addend.addr.eq(self.addend.addr),
                addend.en.eq(self.addend.en & is_turn(self._config, self.addend.turn, turn)),
            ]
        for place, port in enumerate(self.addend.lanes):
            values: list[Value] = [self.banks[lane].read[1].data for lane in lanes_of(self._config, place)]
            m.d.comb += port.eq(reduce(or_, values).as_signed())  # all but one are 0
        return m
