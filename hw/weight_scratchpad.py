"""The weight scratchpad."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.signatures import address_bits, wgt_write_signature
from tilewright.isa.config import Config

#: Words of the banks are not wider than this: wide words simulate slowly.
WORD_BITS = 64


class WeightReadSignature(wiring.Signature):
    """The array's read port; data follow `timing.MEMORY_READ_CYCLES` after the address.

    Members
    -------
    addr : Out(entry)
    en : Out(1)
    rows : In(block_in int8).array(block_out)
        Weights of each output channel.
    """

    def __init__(self, config: Config):
        row = data.ArrayLayout(8, config.gemm.block_in)
        super().__init__(
            {
                "addr": Out(address_bits(config.wgt_depth)),
                "en": Out(1),
                "rows": In(row).array(config.gemm.block_out),
            }
        )


class WeightScratchpad(wiring.Component):
    """`wgt_depth` matrices of `block_out x block_in` int8, in banks of at most 64 bits.

    Parameters
    ----------
    config : Config

    Members
    -------
    read : In(WeightReadSignature)
    write : In(EntryWriteSignature)
    """

    def __init__(self, config: Config):
        self._config = config
        self._write = wgt_write_signature(config)
        super().__init__({"read": In(WeightReadSignature(config)), "write": In(self._write)})
        self.word_bits = min(WORD_BITS, self._write.chunk_bits, 8 * config.gemm.block_in)
        words = 8 * config.wgt_entry_bytes // self.word_bits
        self.banks = [MemoryBank(self.word_bits, config.wgt_depth) for _ in range(words)]

    def elaborate(self, platform):
        m = Module()
        words_per_chunk = self._write.chunk_bits // self.word_bits
        for i, bank in enumerate(self.banks):
            m.submodules[f"bank{i}"] = bank
            chunk, place = divmod(i, words_per_chunk)
            m.d.comb += [
                bank.write.addr.eq(self.write.entry),
                bank.write.en.eq(self.write.valid & (self.write.chunk == chunk)),
                bank.write.data.eq(self.write.data.word_select(place, self.word_bits)),
                bank.read[0].addr.eq(self.read.addr),
                bank.read[0].en.eq(self.read.en),
            ]
        words_per_row = len(self.banks) // self._config.gemm.block_out
        for channel, row in enumerate(self.read.rows):
            banks = self.banks[channel * words_per_row : (channel + 1) * words_per_row]
            m.d.comb += row.eq(Cat(bank.read[0].data for bank in banks))
        return m
