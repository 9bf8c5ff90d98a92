"""Cuts contiguous requests into AXI bursts."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.axi import PAGE_BYTES
from tilewright.isa.config import Config


class RequestLayout(data.StructLayout):
    """A contiguous transfer.

    Members are `beat` (address in beats, an offset from BASE), `more` (how many follow that one), `last` (of its
    instruction) and `empty` (nothing is transferred; only marks the end of an instruction).
    """

    def __init__(self, config: Config, more_bits: int):
        beat = beat_address_bits(config)
        super().__init__({"beat": beat, "more": unsigned(more_bits), "last": unsigned(1), "empty": unsigned(1)})


class BurstLayout(data.StructLayout):
    """A burst: `beat` (address in beats, an offset from BASE), `length` (beats less one), `last`, `empty`."""

    def __init__(self, config: Config):
        super().__init__(
            {"beat": beat_address_bits(config), "length": unsigned(8), "last": unsigned(1), "empty": unsigned(1)}
        )


def beat_address_bits(config: Config) -> int:
    """Return the width of an address that counts beats."""
    return config.bus.address_bits - (config.bus_bytes.bit_length() - 1)


class BurstGenerator(wiring.Component):
    """One burst a cycle, the first in the cycle after the request is taken.

    Bursts end at multiples of `limit` beats, so that all but the first and the last of a request are of full
    length and none crosses a page. How long a burst is stands in a register before it is offered.

    Parameters
    ----------
    config : Config
    limit : int
        Longest burst in beats, a power of two; at most a page.
    more_bits : int
        Width of a request's length.

    Members
    -------
    request : In(stream of RequestLayout)
    burst : Out(stream of BurstLayout)
        `last` marks the last burst of a request that has `last` set; an empty request gives one empty burst.
    """

    def __init__(self, config: Config, limit: int, more_bits: int):
        if limit < 1 or limit & (limit - 1) or limit * config.bus_bytes > PAGE_BYTES:
            raise ValueError(f"limit must be a power of two of at most {PAGE_BYTES} bytes, not {limit} beats")
        super().__init__(
            {
                "request": In(stream.Signature(RequestLayout(config, more_bits))),
                "burst": Out(stream.Signature(BurstLayout(config))),
            }
        )
        self._limit = limit

    def elaborate(self, platform):
        m = Module()
        work = Signal(self.request.payload.shape())
        active, fits = Signal(), Signal()
        length = Signal(range(self._limit))
        request, burst = self.request.payload, self.burst.payload
        place_bits = self._limit.bit_length() - 1
        m.d.comb += [
            self.burst.valid.eq(active),
            burst.beat.eq(work.beat),
            burst.length.eq(length),
            burst.last.eq(work.last & fits),
            burst.empty.eq(work.empty),
            self.request.ready.eq(~active | (self.burst.ready & fits)),
        ]
        left = Signal.like(work.more)
        m.d.comb += left.eq(work.more + ~Cat(length, Const(0, len(left) - len(length))))  # less `length + 1`
        with m.If(self.request.ready):
            m.d.sync += [active.eq(self.request.valid), work.eq(request)]
            self._cut(m, fits, length, request.more, request.beat[:place_bits], request.empty)
        with m.Elif(self.burst.ready):
            following = work.beat[place_bits:] + 1
            m.d.sync += [work.beat.eq(Cat(Const(0, place_bits), following)), work.more.eq(left)]
            self._cut(m, fits, length, left, Const(0, place_bits), Const(0))
        return m

    def _cut(self, m: Module, fits: Signal, length: Signal, more: Value, place: Value, empty: Value) -> None:
        """Register how long a burst is that begins at a `place` beyond a multiple of the limit."""
        bits = len(place)
        is_within = ~((more[:bits] + place)[bits:].any() | more[bits:].any())
        m.d.sync += [fits.eq(is_within | empty), length.eq(Mux(is_within, more, ~place)[: len(length)])]
