"""The back half of the load engine: puts what arrives, and padding, into the scratchpads."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.boxes import EntryBoxLayout, Space, load_spaces
from tilewright.hw.entry_walker import EntryWalker
from tilewright.hw.signatures import (
    ACT_HALVES,
    act_load_signature,
    prm_write_signature,
    tbl_write_signature,
    wgt_write_signature,
)
from tilewright.isa.config import Config
from tilewright.isa.instructions import Opcode


def write_ports(config: Config) -> dict[str, wiring.Member]:
    """Return the load engine's ports to the scratchpads: `act`, one for each half of it, and `entry_ports`."""
    return {"act": Out(act_load_signature(config)).array(ACT_HALVES), **entry_ports(config)}


def entry_ports(config: Config) -> dict[str, wiring.Member]:
    """Return the ports to the other scratchpads, in the order of `load_spaces`."""
    ports = {"wgt": Out(wgt_write_signature(config)), "prm": Out(prm_write_signature(config))}
    if config.epilogue.tables:
        ports["tbl"] = Out(tbl_write_signature(config))
    return ports


class LoadWriter(wiring.Component):
    """One beat or one row of padding a cycle, a row of several beats when its last one arrives.

    The write stands at the port in the cycle after its (last) beat is taken; a row waits there while those of the other
    half go on. `finish` is high in the cycle in which the last of an instruction's writes is accepted.

    Members
    -------
    box : In(stream of EntryBoxLayout)
    beat : In(stream of data)
        The beats of all boxes, one run after the other.
    act, wgt, prm, tbl
        The scratchpads' write ports; `tbl` only where there are tables.
    finish : Out(1)
    signal : Out(2)
        Of the instruction that finishes.
    """

    def __init__(self, config: Config):
        spaces = load_spaces(config)
        super().__init__(
            {
                "box": In(stream.Signature(EntryBoxLayout(config, spaces))),
                "beat": In(stream.Signature(config.bus.data_bits)),
                **write_ports(config),
                "finish": Out(1),
                "signal": Out(2),
            }
        )
        self._config = config
        self._spaces = spaces

    def elaborate(self, platform):
        m = Module()
        m.submodules.walker = walker = EntryWalker(self._config, self._spaces)
        connect(m, flipped(self.box), walker.box)
        item = walker.item.payload
        chunk = Signal(range(max(s.chunks for s in self._spaces)))
        at_last_chunk, beat_ends, writes = Signal(), Signal(), Signal()
        free = Signal(ACT_HALVES)
        port_free, supplied, fire, at_end = Signal(), Signal(), Signal(), Signal()

        with m.Switch(item.space):
            for index, space in enumerate(self._spaces):
                with m.Case(index):
                    self._classify(m, space, item, chunk, at_last_chunk, beat_ends, writes)
        m.d.comb += [
            *(free[half].eq(~port.valid | port.ready) for half, port in enumerate(self.act)),
            port_free.eq(Mux(at_end, free.all(), free.bit_select(item.entry[0], 1))),
            supplied.eq(walker.item.valid & (self.beat.valid | ~item.inside)),
            fire.eq(supplied & (port_free | ~writes)),
            self.beat.ready.eq(fire & item.inside & beat_ends),
            walker.item.ready.eq(supplied & (at_last_chunk | ~item.inside) & port_free),  # that it fires, and ends
        ]
        with m.If(fire & item.inside):
            m.d.sync += chunk.eq(chunk + 1)
            with m.If(at_last_chunk):
                m.d.sync += chunk.eq(0)
        self._drive_act(m, item, fire, writes, free)
        self._drive_entries(m, item, chunk, fire)
        m.d.comb += self.finish.eq(at_end & free.all())
        with m.If(port_free):
            m.d.sync += at_end.eq(walker.item.ready & item.last)  # the last write is in the output registers
        with m.If(fire & writes):
            m.d.sync += self.signal.eq(item.signal)
        return m

    def _classify(self, m, space: Space, item, chunk, at_last_chunk, beat_ends, writes):
        """Say whether this step ends its entry, uses its beat up, and needs the output registers."""
        is_act = space.opcode is Opcode.LOAD_ACT
        m.d.comb += [
            at_last_chunk.eq(chunk[: space.chunks.bit_length() - 1].all()),  # it is never more than the last
            beat_ends.eq(item.slot[: space.slots.bit_length() - 1].all() | item.run_end),
            writes.eq(at_last_chunk | ~item.inside | (not is_act)),
        ]
        if not space.is_narrow:
            m.d.comb += beat_ends.eq(1)

    def _chunk(self, space: Space, item):
        """Return the part of the beat that belongs to the item."""
        if not space.is_narrow:
            return self.beat.payload
        return self.beat.payload.word_select(item.slot[: space.slots.bit_length() - 1], space.chunk_bits)

    def _drive_act(self, m, item, fire, writes, free):
        """Collect rows wider than a beat, and offer rows to the halves of the activation scratchpad."""
        space = self._spaces[0]
        arrived = self._chunk(space, item)
        is_act = fire & (item.space == 0)
        row = arrived
        if space.chunks > 1:
            earlier = Signal(8 * space.entry_bytes - space.chunk_bits)
            row = Cat(earlier, arrived)
            with m.If(is_act & item.inside):
                m.d.sync += earlier.eq(row[space.chunk_bits :])
        for half, port in enumerate(self.act):
            goes_here = Signal(name=f"row{half}")
            m.d.comb += goes_here.eq(is_act & writes & ~item.empty & (item.entry[0] == half))
            with m.If(free[half]):
                m.d.sync += port.valid.eq(goes_here)
            with m.If(goes_here):
                padding = item.pad_value.replicate(space.entry_bytes)
                m.d.sync += [port.payload.row.eq(item.entry), port.payload.data.eq(Mux(item.inside, row, padding))]

    def _drive_entries(self, m, item, chunk, fire):
        """Offer chunks to the other memories, which always accept."""
        ports = [self.wgt, self.prm, *([self.tbl] if self._config.epilogue.tables else [])]
        for index, (port, space) in enumerate(zip(ports, self._spaces[1:], strict=True), start=1):
            m.d.sync += [
                port.valid.eq(fire & (item.space == index) & item.inside),
                port.entry.eq(item.entry),
                port.chunk.eq(chunk),
                port.data.eq(self._chunk(space, item)),
            ]
