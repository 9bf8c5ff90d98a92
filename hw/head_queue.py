"""A queue whose head stands in a register."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class HeadQueue(wiring.Component):
    """A queue of one transfer a cycle; a word that enters it while it is empty is its head one cycle later.

    Words behind the head stand in a memory. What they are read with does not depend on `output.ready`, which only
    enables the head's register: nothing of the memory is on the paths from the head or to it. What is known of the
    number of words stands in registers, too, so that no path to a neighbour begins with a comparison.

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
        has_room, is_single = Signal(init=1), Signal(init=1)  # not `level == depth`; `level <= 1`
        enters, leaves, takes, follows = Signal(), Signal(), Signal(), Signal()
        produce = _turning(m, "produce", enters, self._depth)
        consume = _turning(m, "consume", takes & follows, self._depth)
        m.d.comb += [
            self.input.ready.eq(has_room),
            enters.eq(self.input.valid & has_room),
            leaves.eq(self.output.valid & self.output.ready),
            takes.eq(self.output.ready | ~self.output.valid),
            follows.eq(enters | ~is_single),
            write.addr.eq(produce),
            write.data.eq(given),
            write.en.eq(enters),
            read.addr.eq(consume),
            Value.cast(self.output.payload).eq(head),
        ]
        stays = self.output.valid & ~self.output.ready
        with m.If(enters ^ leaves):
            m.d.sync += level.eq(level + Mux(enters, 1, -1))
        m.d.sync += [
            self.output.valid.eq(enters | stays | ~is_single),
            is_single.eq(Mux(is_single, ~(enters & stays), (level == 2) & ~enters & ~stays)),
            has_room.eq((has_room | leaves) & ~((level == self._depth - 1) & enters & ~leaves)),
        ]
        with m.If(takes):
            m.d.sync += head.eq(Mux(is_single, given, read.data))
        return m


def _turning(m: Module, name: str, en: Value, depth: int) -> Signal:
    """Return a place that goes round as often as `en` is high."""
    place = Signal(range(depth), name=name)
    with m.If(en):
        m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1) if depth & (depth - 1) else place + 1)
    return place
