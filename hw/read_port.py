"""The read half of the AXI master: two sources of bursts, one queue of data each way."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.axi import BURST_INCREMENTING, FETCH_ID, ID_BITS, LOAD_ID, PAGE_BYTES, AxiReadSignature
from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.stream_buffer import StreamBuffer
from tilewright.isa.config import Config

_OKAY_MASK = 0b10  # SLVERR and DECERR have this bit set


class ReadPort(wiring.Component):
    """Sends the bursts of fetch and load, fetch first, and hands their data out by id.

    A burst is on the bus one cycle after it is taken, a beat at its reader one cycle after it is on the bus. At most
    `bus.reads_in_flight` bursts are on their way. While `drain` is high no burst is taken and all data are dropped.

    Members
    -------
    axi : Out(AxiReadSignature)
    base : In(address)
        Added to every burst's address; a multiple of a page.
    drain : In(1)
    fetch, load : In(stream of BurstLayout)
        Empty bursts must not be sent here.
    fetch_beat, load_beat : Out(stream of data)
        The fetch engine must always be ready.
    busy : Out(1)
        Bursts are on their way.
    error : Out(1)
        High for a cycle when a response reports an error.
    burst_taken, beat_taken : Out(1)
        One burst accepted, one beat received on the bus; for the counters.
    """

    def __init__(self, config: Config):
        width = config.bus.data_bits
        super().__init__(
            {
                "axi": Out(AxiReadSignature(config)),
                "base": In(config.bus.address_bits),
                "drain": In(1),
                "fetch": In(stream.Signature(BurstLayout(config))),
                "load": In(stream.Signature(BurstLayout(config))),
                "fetch_beat": Out(stream.Signature(width)),
                "load_beat": Out(stream.Signature(width)),
                "busy": Out(1),
                "error": Out(1),
                "burst_taken": Out(1),
                "beat_taken": Out(1),
            }
        )
        self._config = config

    def elaborate(self, platform):
        m = Module()
        m.submodules.address = address = StreamBuffer(AddressLayout(self._config))
        m.submodules.beat = beat = StreamBuffer(BeatLayout(self._config))
        drive_address(m, self.axi, "ar", address.output, self._config)

        outstanding = Signal(range(self._config.bus.reads_in_flight + 1))
        is_full, may_send = Signal(), Signal()
        m.d.comb += [
            may_send.eq(~is_full & ~self.drain & address.input.ready),
            self.fetch.ready.eq(may_send),
            self.load.ready.eq(may_send & ~self.fetch.valid),
            address.input.valid.eq(may_send & (self.fetch.valid | self.load.valid)),
            address.input.payload.id.eq(Mux(self.fetch.valid, FETCH_ID, LOAD_ID)),
        ]
        with m.If(self.fetch.valid):
            fill_address(m, address.input.payload, self.fetch.payload, self.base, self._config)
        with m.Else():
            fill_address(m, address.input.payload, self.load.payload, self.base, self._config)

        axi = self.axi
        m.d.comb += [
            beat.input.valid.eq(axi.rvalid),
            axi.rready.eq(beat.input.ready),
            beat.input.payload.eq(Cat(axi.rdata, axi.rid)),
            self.fetch_beat.payload.eq(beat.output.payload.data),
            self.load_beat.payload.eq(beat.output.payload.data),
            self.fetch_beat.valid.eq(beat.output.valid & (beat.output.payload.id == FETCH_ID)),
            self.load_beat.valid.eq(beat.output.valid & (beat.output.payload.id == LOAD_ID)),
            beat.output.ready.eq(
                Mux(beat.output.payload.id == FETCH_ID, self.fetch_beat.ready, self.load_beat.ready) | self.drain
            ),
        ]

        received, completes = Signal(), Signal()
        m.d.comb += [
            completes.eq(received & axi.rlast),
            received.eq(axi.rvalid & axi.rready),
            self.busy.eq(outstanding != 0),
            self.burst_taken.eq(axi.arvalid & axi.arready),
            self.beat_taken.eq(received),
        ]
        m.d.sync += self.error.eq(received & ((axi.rresp & _OKAY_MASK) != 0))
        with m.If(address.input.valid ^ completes):
            m.d.sync += [
                outstanding.eq(outstanding + Mux(completes, -1, 1)),
                is_full.eq(~completes & (outstanding == self._config.bus.reads_in_flight - 1)),
            ]
        return m


class AddressLayout(data.StructLayout):
    """What goes over an address channel: `addr`, `len`, `id`."""

    def __init__(self, config: Config):
        super().__init__({"addr": config.bus.address_bits, "len": 8, "id": ID_BITS})


class BeatLayout(data.StructLayout):
    """A beat of read data: `data` and `id`."""

    def __init__(self, config: Config):
        super().__init__({"data": config.bus.data_bits, "id": ID_BITS})


def fill_address(m, address, burst, base, config: Config) -> None:
    """Drive an AddressLayout but for its id from a BurstLayout and BASE, whose bits within a page are zero."""
    within = PAGE_BYTES.bit_length() - 1
    beat_bits = config.bus_bytes.bit_length() - 1
    offset = Cat(Const(0, beat_bits), burst.beat)
    m.d.comb += [
        address.addr.eq(Cat(offset[:within], offset[within:] + base[within:])),
        address.len.eq(burst.length),
    ]


def drive_address(m, axi, prefix: str, source, config: Config) -> None:
    """Connect a stream of AddressLayout to the address channel `ar` or `aw`."""

    def channel(name: str):
        return getattr(axi, prefix + name)

    m.d.comb += [
        channel("valid").eq(source.valid),
        source.ready.eq(channel("ready")),
        channel("addr").eq(source.payload.addr),
        channel("len").eq(source.payload.len),
        channel("id").eq(source.payload.id),
        channel("size").eq(config.bus_bytes.bit_length() - 1),
        channel("burst").eq(BURST_INCREMENTING),
    ]
