"""Fetches the program."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from tilewright.hw.burst_generator import BurstGenerator, BurstLayout
from tilewright.hw.timing import fetch_buffer_beats, fetch_burst_beats
from tilewright.isa.instructions import OPCODE_BITS, Engine, InstructionSet

COUNT_BITS = 32


class FetchedLayout(data.StructLayout):
    """An instruction: `word`, and `engines`, a bit for each, of which its own is set; none for an unknown opcode."""

    def __init__(self, isa: InstructionSet):
        super().__init__({"word": 8 * isa.instruction_bytes, "engines": len(Engine)})


class Fetch(wiring.Component):
    """Reads instructions ahead into a buffer and offers them one by one.

    A burst is asked for when the buffer has room for all of it, so its data are always accepted.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    begin : In(1)
        Start at `program_offset`; only while nothing is fetched.
    program_offset : In(address)
        Offset of the first instruction from BASE, in bytes.
    count : In(32)
        Instructions.
    burst : Out(stream of BurstLayout)
    beat : In(stream of data)
    instruction : Out(stream of FetchedLayout)
    done : Out(1)
        All instructions have been taken.
    """

    def __init__(self, isa: InstructionSet):
        config = isa.config
        super().__init__(
            {
                "begin": In(1),
                "program_offset": In(config.bus.address_bits),
                "count": In(COUNT_BITS),
                "burst": Out(stream.Signature(BurstLayout(config))),
                "beat": In(stream.Signature(config.bus.data_bits)),
                "instruction": Out(stream.Signature(FetchedLayout(isa))),
                "done": Out(1),
            }
        )
        self._isa = isa
        self._config = config
        self._beats = isa.instruction_bytes // config.bus_bytes

    def elaborate(self, platform):
        m = Module()
        left = Signal(COUNT_BITS)
        with m.If(self.begin):
            m.d.sync += left.eq(self.count)
        with m.Elif(self.instruction.valid & self.instruction.ready):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.done.eq(left == 0)

        beat_taken = Signal()
        self._ask(m, beat_taken)
        self._assemble(m, beat_taken)
        return m

    def _ask(self, m, beat_taken):
        """Cut the program into bursts, and hold each back until there is room for it."""
        more_bits = COUNT_BITS + self._beats.bit_length()
        m.submodules.bursts = bursts = BurstGenerator(self._config, fetch_burst_beats(self._config), more_bits)
        request = bursts.request.payload
        room = Signal(range(fetch_buffer_beats(self._config) + 1), init=fetch_buffer_beats(self._config))
        has_room = Signal()
        beats = Signal(range(257))
        m.d.comb += [
            bursts.request.valid.eq(self.begin & (self.count != 0)),
            request.beat.eq(self.program_offset[self._config.bus_bytes.bit_length() - 1 :]),
            request.more.eq(self.count * self._beats - 1),
            beats.eq(bursts.burst.payload.length + 1),
            has_room.eq(room > bursts.burst.payload.length),
            self.burst.payload.eq(bursts.burst.payload),
            self.burst.valid.eq(bursts.burst.valid & has_room),
            bursts.burst.ready.eq(self.burst.ready & has_room),
        ]
        asked = self.burst.valid & self.burst.ready
        m.d.sync += room.eq(room - Mux(asked, beats, 0) + beat_taken)

    def _assemble(self, m, beat_taken):
        """Buffer the beats and put them together to instructions."""
        width = self._config.bus.data_bits
        m.submodules.buffer = buffer = SyncFIFOBuffered(width=width, depth=fetch_buffer_beats(self._config))
        earlier = Signal(width * (self._beats - 1))
        index = Signal(range(self._beats))
        is_last, output_free = Signal(), Signal()
        word = Cat(earlier, buffer.r_data)
        m.d.comb += [
            buffer.w_data.eq(self.beat.payload),
            buffer.w_en.eq(self.beat.valid),
            self.beat.ready.eq(1),
            is_last.eq(index == self._beats - 1),
            output_free.eq(~self.instruction.valid | self.instruction.ready),
            beat_taken.eq(buffer.r_rdy & (output_free | ~is_last)),
            buffer.r_en.eq(beat_taken),
        ]
        with m.If(beat_taken):
            m.d.sync += [earlier.eq(word[width:]), index.eq(Mux(is_last, 0, index + 1))]
        opcode = word[:OPCODE_BITS]
        engines = (Cat(opcode == int(i.opcode) for i in self._isa.of_engine(engine)).any() for engine in Engine)
        with m.If(output_free):
            m.d.sync += [
                self.instruction.valid.eq(beat_taken & is_last),
                self.instruction.payload.eq(Cat(word, *engines)),
            ]
