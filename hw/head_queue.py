"""A queue whose head stands in a register."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class HeadQueue(wiring.Component):
    """A queue of one transfer a cycle; a word that enters it while it is empty is its head one cycle later.

    Words behind the head stand in a memory. What they are read with does not depend on `output.ready`, which only
    enables the head's register: nothing of the memory is on the paths from the head or to it.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    depth : int
        Words, the head included.

    Members
    -------
    input : In(stream)
    output : Out(stream)
    """

    def __init__(self, shape, depth: int):
        super().__init__({"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))})
        self._depth = depth

    def elaborate(self, platform):
        m = Module()
        given = Value.cast(self.input.payload)
        head = Signal(len(given), reset_less=True)
        m.submodules.behind = behind = Memory(shape=len(given), depth=self._depth, init=[])
        write, read = behind.write_port(), behind.read_port(domain="comb")
        level = Signal(range(self._depth + 1))
        is_single, enters, takes, follows = Signal(), Signal(), Signal(), Signal()
        produce = _turning(m, "produce", enters, self._depth)
        consume = _turning(m, "consume", takes & follows, self._depth)
        m.d.comb += [
            self.input.ready.eq(level != self._depth),
            self.output.valid.eq(level != 0),
            is_single.eq(level <= 1),
            enters.eq(self.input.valid & self.input.ready),
            takes.eq(self.output.ready | ~self.output.valid),
            follows.eq(enters | ~is_single),
            write.addr.eq(produce),
            write.data.eq(given),
            write.en.eq(enters),
            read.addr.eq(consume),
            Value.cast(self.output.payload).eq(head),
        ]
        m.d.sync += level.eq(level + enters - (self.output.valid & self.output.ready))
        with m.If(takes):
            m.d.sync += head.eq(Mux(is_single, given, read.data))
        return m


def _turning(m: Module, name: str, en: Value, depth: int) -> Signal:
    """Return a place that goes round as often as `en` is high."""
    place = Signal(range(depth), name=name)
    with m.If(en):
        m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1) if depth & (depth - 1) else place + 1)
    return place
