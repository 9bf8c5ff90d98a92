"""Cuts contiguous requests into AXI bursts."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.axi import PAGE_BYTES
from tilewright.isa.config import Config


class RequestLayout(data.StructLayout):
    """A contiguous transfer.

    Members are `beat` (address in beats, an offset from BASE), `beats` (how many; not 0 unless empty), `last` (of
    its instruction) and `empty` (nothing is transferred; only marks the end of an instruction).
    """

    def __init__(self, config: Config, beats_bits: int):
        beat = beat_address_bits(config)
        super().__init__({"beat": beat, "beats": unsigned(beats_bits), "last": unsigned(1), "empty": unsigned(1)})


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
    length and none crosses a page.

    Parameters
    ----------
    config : Config
    limit : int
        Longest burst in beats, a power of two; at most a page.
    beats_bits : int
        Width of a request's length.

    Members
    -------
    request : In(stream of RequestLayout)
    burst : Out(stream of BurstLayout)
        `last` marks the last burst of a request that has `last` set; an empty request gives one empty burst.
    """

    def __init__(self, config: Config, limit: int, beats_bits: int):
        if limit < 1 or limit & (limit - 1) or limit * config.bus_bytes > PAGE_BYTES:
            raise ValueError(f"limit must be a power of two of at most {PAGE_BYTES} bytes, not {limit} beats")
        super().__init__(
            {
                "request": In(stream.Signature(RequestLayout(config, beats_bits))),
                "burst": Out(stream.Signature(BurstLayout(config))),
            }
        )
        self._limit = limit

    def elaborate(self, platform):
        m = Module()
        work = Signal(self.request.payload.shape())
        active = Signal()
        room = Signal(range(self._limit + 1))
        count = Signal(range(self._limit + 1))
        fits = Signal()

        position = work.beat[: self._limit.bit_length() - 1]
        burst = self.burst.payload
        m.d.comb += [
            room.eq(self._limit - position),
            fits.eq(work.beats <= room),
            count.eq(Mux(fits, work.beats, room)),
            self.burst.valid.eq(active),
            burst.beat.eq(work.beat),
            burst.length.eq((count - 1)[: len(count)]),
            burst.last.eq(work.last & fits),
            burst.empty.eq(work.empty),
            self.request.ready.eq(~active | (self.burst.ready & fits)),
        ]
        with m.If(self.request.ready):
            m.d.sync += [active.eq(self.request.valid), work.eq(self.request.payload)]
        with m.Elif(self.burst.ready):
            m.d.sync += [work.beat.eq(work.beat + count), work.beats.eq(work.beats - count)]
        return m
