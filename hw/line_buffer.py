"""The line buffer of the depthwise mode."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.signatures import address_bits
from tilewright.isa.config import Config

#: Words of the banks are not wider than this: wide words simulate slowly.
WORD_BITS = 64


class LineBuffer(wiring.Component):
    """The last `window_rows - 1` rows of pixels, a word for each column, replaced as the next row passes.

    Parameters
    ----------
    config : Config
        With a window of several rows.

    Members
    -------
    column : In(range(columns))
    en : In(1)
        Read that column.
    rows : Out(pixel).array(window_rows - 1)
        Its pixels, the oldest first, `timing.MEMORY_READ_CYCLES` later.
    write_column : In(range(columns))
    write_en : In(1)
    write_rows : In(pixel).array(window_rows - 1)
    """

    def __init__(self, config: Config):
        self._depth = config.depthwise.columns
        self._rows = config.window_rows - 1
        pixel_bits = 8 * config.acc_lanes
        self._word_bits = min(WORD_BITS, pixel_bits)
        column = In(address_bits(self._depth))
        super().__init__(
            {
                "column": column,
                "en": In(1),
                "rows": Out(pixel_bits).array(self._rows),
                "write_column": column,
                "write_en": In(1),
                "write_rows": In(pixel_bits).array(self._rows),
            }
        )
        words = pixel_bits // self._word_bits
        self.banks = [[MemoryBank(self._word_bits, self._depth) for _ in range(words)] for _ in range(self._rows)]

    def elaborate(self, platform):
        m = Module()
        for row, banks in enumerate(self.banks):
            for word, bank in enumerate(banks):
                m.submodules[f"bank{row}_{word}"] = bank
                m.d.comb += [
                    bank.read[0].addr.eq(self.column),
                    bank.read[0].en.eq(self.en),
                    bank.write.addr.eq(self.write_column),
                    bank.write.en.eq(self.write_en),
                    bank.write.data.eq(self.write_rows[row].word_select(word, self._word_bits)),
                ]
            m.d.comb += self.rows[row].eq(Cat(bank.read[0].data for bank in banks))
        return m
