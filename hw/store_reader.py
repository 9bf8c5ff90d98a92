"""The data half of the store engine: reads rows and packs them into beats."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.boxes import EntryBoxLayout, act_space, slot_bits
from tilewright.hw.entry_walker import EntryWalker
from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.signatures import ActStoreSignature
from tilewright.hw.timing import store_row_queue
from tilewright.hw.write_port import WriteBeatLayout
from tilewright.isa.config import Config
from tilewright.isa.instructions import Opcode


class StoreReader(wiring.Component):
    """One row a cycle where rows are not wider than the bus, one beat a cycle where they are.

    Members
    -------
    box : In(stream of EntryBoxLayout)
    rows : Out(ActStoreSignature)
    beat : Out(stream of WriteBeatLayout)
        Bytes of a beat that belong to no row have no strobe.
    """

    def __init__(self, config: Config):
        self._space = act_space(config, Opcode.STORE_ACT)
        super().__init__(
            {
                "box": In(stream.Signature(EntryBoxLayout(config, (self._space,)))),
                "rows": Out(ActStoreSignature(config)),
                "beat": Out(stream.Signature(WriteBeatLayout(config))),
            }
        )
        self._config = config

    def elaborate(self, platform):
        m = Module()
        place = data.StructLayout({"slot": slot_bits((self._space,)), "run_end": 1})
        depth = store_row_queue(self._config)
        m.submodules.walker = walker = EntryWalker(self._config, (self._space,))
        m.submodules.places = places = HeadQueue(place, depth)
        m.submodules.queue = queue = SyncFIFO(width=8 * self._space.entry_bytes, depth=depth)
        connect(m, flipped(self.box), walker.box)
        item = walker.item.payload

        # A place is taken for every row that is asked for, so that there is room for each that comes.
        m.d.comb += [
            self.rows.request.valid.eq(walker.item.valid & ~item.empty & places.input.ready),
            self.rows.request.payload.eq(item.entry),
            walker.item.ready.eq(item.empty | (places.input.ready & self.rows.request.ready)),
            places.input.valid.eq(self.rows.request.valid & self.rows.request.ready),
            places.input.payload.slot.eq(item.slot),
            places.input.payload.run_end.eq(item.run_end),
            queue.w_en.eq(self.rows.response_valid),
            queue.w_data.eq(self.rows.response),
        ]
        row_taken = Signal()
        m.d.comb += [queue.r_en.eq(row_taken), places.output.ready.eq(row_taken)]
        if self._space.is_narrow:
            self._pack(m, queue, places.output.payload, row_taken)
        else:
            self._split(m, queue, row_taken)
        return m

    def _split(self, m, queue, row_taken):
        """Send the chunks of a row one after the other."""
        chunks, bits = self._space.chunks, self._space.chunk_bits
        chunk = Signal(range(chunks))
        go = Signal()
        m.d.comb += [
            go.eq(queue.r_rdy & (~self.beat.valid | self.beat.ready)),
            row_taken.eq(go & (chunk == chunks - 1)),
        ]
        with m.If(~self.beat.valid | self.beat.ready):
            m.d.sync += self.beat.valid.eq(queue.r_rdy)
        with m.If(go):
            m.d.sync += [
                chunk.eq(Mux(row_taken, 0, chunk + 1)),
                self.beat.payload.data.eq(queue.r_data.word_select(chunk, bits)),
                self.beat.payload.strobe.eq(~0),
            ]

    def _pack(self, m, queue, place, row_taken):
        """Gather rows until the beat is full or the run ends."""
        slots, row_bits, row_bytes = self._space.slots, self._space.chunk_bits, self._space.entry_bytes
        gathered = Signal(WriteBeatLayout(self._config))
        merged = Signal(WriteBeatLayout(self._config))
        is_full = Signal()
        output_free = Signal()
        m.d.comb += [
            is_full.eq((place.slot == slots - 1) | place.run_end),
            output_free.eq(~self.beat.valid | self.beat.ready),
            row_taken.eq(queue.r_rdy & (output_free | ~is_full)),
            merged.eq(gathered),
            merged.data.word_select(place.slot, row_bits).eq(queue.r_data),
            merged.strobe.word_select(place.slot, row_bytes).eq(~0),
        ]
        with m.If(row_taken):
            m.d.sync += gathered.eq(merged)
            with m.If(is_full):
                m.d.sync += gathered.strobe.eq(0)
        with m.If(output_free):
            m.d.sync += [self.beat.valid.eq(row_taken & is_full), self.beat.payload.eq(merged)]
