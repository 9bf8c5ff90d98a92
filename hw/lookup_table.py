# amaranth: UnusedElaboratable=no
"""The lookup tables of the epilogue."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import COLLISION_FREE
from tilewright.hw.repeated import Repeated
from tilewright.hw.signatures import address_bits, tbl_write_signature
from tilewright.isa.config import Config

WORD_BITS = 64


class TableLane(Repeated):
    """One lane's copy of all tables: RAM in words of eight bytes, as many side by side as the bus has.

    Members
    -------
    en : In(1)
        A value is there.
    use : In(1)
        Look it up; otherwise it passes through.
    table : In(table number)
    index : In(signed(8))
    result : Out(signed(8))
    write_en, write_row, write_data
        Writes of whole chunks.
    """

    def __init__(self, config: Config):
        self._write = tbl_write_signature(config)
        self._words = self._write.chunk_bits // WORD_BITS
        self._rows = config.epilogue.tables * self._write.chunks
        super().__init__(
            {
                "en": In(1),
                "use": In(1),
                "table": In(address_bits(config.epilogue.tables)),
                "index": In(signed(8)),
                "result": Out(signed(8)),
                "write_en": In(1),
                "write_row": In(address_bits(self._rows)),
                "write_data": In(self._write.chunk_bits),
            }
        )
        self._style = "block" if config.epilogue.block_tables else "distributed"
        attributes = {"ram_style": self._style, **COLLISION_FREE}
        self.memories = [
            Memory(shape=WORD_BITS, depth=self._rows, init=[], attrs=attributes) for _ in range(self._words)
        ]

    @property
    def kind(self):
        return self._words, self._rows, self._style

    def elaborate_one(self, platform):
        m = Module()
        place = self.index ^ -128  # the index plus 128, unsigned
        word_bits = address_bits(self._words)
        byte, word = place[:3], place[3 : 3 + word_bits]
        row = Cat(place[3 + word_bits : 8], self.table)

        byte_late, word_late = Signal(3, reset_less=True), Signal(word_bits, reset_less=True)
        index_late = Signal(signed(8), reset_less=True)
        enabled, use_late = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [enabled.eq(self.en), use_late.eq(self.use)]
        with m.If(self.en):
            m.d.sync += [byte_late.eq(byte), word_late.eq(word), index_late.eq(self.index)]

        words = []
        for i, memory in enumerate(self.memories):
            m.submodules[f"memory{i}"] = memory
            write, read = memory.write_port(), memory.read_port()
            words.append(read.data)
            m.d.comb += [
                write.addr.eq(self.write_row),
                write.data.eq(self.write_data.word_select(i, WORD_BITS)),
                write.en.eq(self.write_en),
                read.addr.eq(row),
                read.en.eq(self.en & self.use & (word == i if word_bits else 1)),
            ]
        chosen = Signal(WORD_BITS)
        with m.Switch(word_late):
            for i, value in enumerate(words):
                with m.Case(i):
                    m.d.comb += chosen.eq(value)
        found = (chosen >> Cat(Const(0, 3), byte_late))[:8].as_signed()
        result = Signal(signed(8), reset_less=True)
        with m.If(enabled):
            m.d.sync += result.eq(Mux(use_late, found, index_late))
        m.d.comb += self.result.eq(result)
        return m


class LookupTables(wiring.Component):
    """`tables` tables of 256 int8, a copy for every lane of the epilogue; `timing.LOOKUP_CYCLES` from value to result.

    Parameters
    ----------
    config : Config
        With at least one table.

    Members
    -------
    en : In(1)
        Values are there.
    table : In(table number)
    use : In(1)
        Look up; otherwise values pass through.
    values : In(signed(8)).array(turn_lanes)
    results : Out(signed(8)).array(turn_lanes)
    write : In(EntryWriteSignature)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "en": In(1),
                "table": In(address_bits(config.epilogue.tables)),
                "use": In(1),
                "values": In(signed(8)).array(config.turn_lanes),
                "results": Out(signed(8)).array(config.turn_lanes),
                "write": In(tbl_write_signature(config)),
            }
        )
        self.lanes = [TableLane(config) for _ in range(config.turn_lanes)]

    def elaborate(self, platform):
        m = Module()
        mask = self._config.epilogue.tables - 1
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane{i}"] = lane
            m.d.comb += [
                lane.en.eq(self.en),
                lane.use.eq(self.use),
                lane.table.eq(self.table & mask),
                lane.index.eq(self.values[i]),
                lane.write_en.eq(self.write.valid),
                lane.write_row.eq(Cat(self.write.chunk, self.write.entry & mask)),
                lane.write_data.eq(self.write.data),
                self.results[i].eq(lane.result),
            ]
        return m
