"""Walks the DRAM side of a box: one contiguous request for each run."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.boxes import DramBoxLayout, Space, slot_bits
from tilewright.hw.burst_generator import RequestLayout
from tilewright.isa.config import Config


def request_bits(config: Config, spaces: tuple[Space, ...]) -> int:
    """Return the width of the beats of a run."""
    return config.extent_bits + max(s.chunks for s in spaces).bit_length() + (slot_bits(spaces) > 0)


class RunWalker(wiring.Component):
    """One request a cycle, the first in the cycle after the box is taken; the next box one cycle after the last.

    Parameters
    ----------
    config : Config
    spaces : tuple of Space
        The memories that the engine moves.

    Members
    -------
    box : In(stream of DramBoxLayout)
    request : Out(stream of RequestLayout)
        An empty box gives one empty request.
    """

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "box": In(stream.Signature(DramBoxLayout(config, spaces))),
                "request": Out(stream.Signature(RequestLayout(config, request_bits(config, spaces)))),
            }
        )
        self._config = config
        self._spaces = spaces

    def elaborate(self, platform):
        m = Module()
        active = Signal()
        work = Signal(self.box.payload.shape())
        # Where the current run begins, and where the current iterations of loops 1 and 2 began.
        bits = self._config.bus.address_bits
        address, start1, start2 = (Signal(bits, name=n) for n in ("address", "start1", "start2"))
        left = [Signal(self._config.extent_bits, name=f"left{i}") for i in range(3)]
        at_end, single = Signal(3), Signal(3)  # of each loop: it is in its last iteration, it has only one
        further = Signal(self._config.extent_bits)  # entries of a run after its first
        is_last = Signal()

        m.d.comb += [
            is_last.eq(at_end.all() | work.empty),
            self.box.ready.eq(~active),
            self.request.valid.eq(active),
        ]
        self._measure(m, work, address, further, is_last)

        with m.If(self.box.ready):
            box = self.box.payload
            m.d.sync += [active.eq(self.box.valid), work.eq(box)]
            m.d.sync += [s.eq(box.base) for s in (address, start1, start2)]
            m.d.sync += [count.eq(box.extents[i]) for i, count in enumerate(left)]
            ones = Cat(box.extents[i] == 1 for i in range(3))
            m.d.sync += [at_end.eq(ones), single.eq(ones), further.eq(box.run - 1)]
        with m.Elif(self.request.ready):
            m.d.sync += active.eq(~is_last)
            self._step(m, work, (address, start1, start2), left, at_end, single)
        return m

    def _step(self, m, work, starts, left, at_end, single):
        """Go to the next run: the innermost loop that has not ended goes on, those within it start again."""
        outer_ended = Const(1, 1)
        for i in range(3):
            goes_on = outer_ended & ~at_end[i]
            with m.If(goes_on):
                following = starts[i] + work.strides[i]
                m.d.sync += [start.eq(following) for start in starts[: i + 1]]
                m.d.sync += [left[i].eq(left[i] - 1), at_end[i].eq(left[i] == 2)]
                m.d.sync += [left[j].eq(work.extents[j]) for j in range(i)]
                m.d.sync += at_end[:i].eq(single[:i])
            outer_ended = outer_ended & at_end[i]

    def _measure(self, m, work, address, further, is_last):
        """Turn address and run into beats."""
        low = self._config.bus_bytes.bit_length() - 1
        request = self.request.payload
        m.d.comb += [request.beat.eq(address[low:]), request.last.eq(is_last), request.empty.eq(work.empty)]
        with m.Switch(work.space):
            for index, space in enumerate(self._spaces):
                with m.Case(index):
                    m.d.comb += request.more.eq(_more(space, address, further, low))


def _more(space: Space, address, further, low: int):
    """Return how many beats after the first hold a run of `further` entries after the first, from `address` on."""
    if not space.is_narrow:
        return Cat(Const(space.chunks - 1, space.chunks.bit_length() - 1), further)
    shift = space.slots.bit_length() - 1
    slot = address[low - shift : low]
    return (slot + further)[shift:]
