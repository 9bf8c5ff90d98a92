"""The write half of the AXI master: addresses, data and responses kept in step."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.axi import AxiWriteSignature
from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.read_port import AddressLayout, drive_address, fill_address
from tilewright.hw.stream_buffer import StreamBuffer
from tilewright.isa.config import Config


class WriteBeatLayout(data.StructLayout):
    """A beat to write: `data` and `strobe`, a bit for each byte."""

    def __init__(self, config: Config):
        super().__init__({"data": config.bus.data_bits, "strobe": config.bus_bytes})


class WritePort(wiring.Component):
    """Sends bursts and their data, counts responses and says when an instruction's last one is in.

    At most `bus.writes_in_flight` bursts are on their way. While `drain` is high no burst is taken, and what is missing
    of the bursts on their way is sent without strobes, so that the memory is left as it is.

    Members
    -------
    axi : Out(AxiWriteSignature)
    base : In(address)
        Added to every burst's address; a multiple of a page.
    drain : In(1)
    burst : In(stream of BurstLayout)
        Empty bursts only mark the end of an instruction.
    beat : In(stream of WriteBeatLayout)
        In the order of the bursts.
    finish : Out(1)
        High for a cycle for each burst with `last`, in order, once all responses up to it are in.
    busy : Out(1)
        Bursts are on their way.
    error : Out(1)
        High for a cycle when a response reports an error.
    burst_taken, beat_taken : Out(1)
        One burst, one beat accepted on the bus; for the counters.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "axi": Out(AxiWriteSignature(config)),
                "base": In(config.bus.address_bits),
                "drain": In(1),
                "burst": In(stream.Signature(BurstLayout(config))),
                "beat": In(stream.Signature(WriteBeatLayout(config))),
                "finish": Out(1),
                "busy": Out(1),
                "error": Out(1),
                "burst_taken": Out(1),
                "beat_taken": Out(1),
            }
        )
        self._config = config

    def elaborate(self, platform):
        m = Module()
        depth = self._config.bus.writes_in_flight
        m.submodules.address = address = StreamBuffer(AddressLayout(self._config))
        m.submodules.lengths = lengths = HeadQueue(8, depth)
        m.submodules.marks = marks = HeadQueue(data.StructLayout({"last": 1, "empty": 1}), depth + 1)
        drive_address(m, self.axi, "aw", address.output, self._config)
        outstanding, is_full = Signal(range(depth + 1)), Signal()
        response = Signal()

        self._take_bursts(m, address, lengths, marks, is_full)
        self._send_beats(m, lengths)
        self._finish(m, marks, response)

        m.d.comb += [
            self.axi.bready.eq(1),
            response.eq(self.axi.bvalid),
            self.busy.eq(outstanding != 0),
            self.burst_taken.eq(self.axi.awvalid & self.axi.awready),
            self.beat_taken.eq(self.axi.wvalid & self.axi.wready),
        ]
        m.d.sync += self.error.eq(response & self.axi.bresp[1])
        with m.If(address.input.valid ^ response):
            m.d.sync += [
                outstanding.eq(outstanding + Mux(response, -1, 1)),
                is_full.eq(~response & (outstanding == depth - 1)),
            ]
        return m

    def _take_bursts(self, m, address, lengths, marks, is_full):
        """Take a burst when there is room for it everywhere; an empty one leaves only a mark."""
        burst = self.burst
        has_room = Signal()
        m.d.comb += [
            has_room.eq(address.input.ready & ~is_full),
            burst.ready.eq(marks.input.ready & ~self.drain & (has_room | burst.payload.empty)),
            marks.input.valid.eq(burst.valid & burst.ready),
            marks.input.payload.last.eq(burst.payload.last),
            marks.input.payload.empty.eq(burst.payload.empty),
            address.input.valid.eq(marks.input.valid & ~burst.payload.empty),
            lengths.input.valid.eq(address.input.valid),
            lengths.input.payload.eq(burst.payload.length),
        ]
        fill_address(m, address.input.payload, burst.payload, self.base, self._config)

    def _send_beats(self, m, lengths):
        """Send the data of the bursts taken, marking the last beat of each."""
        m.submodules.data = buffer = StreamBuffer(data.StructLayout({"beat": self.beat.payload.shape(), "last": 1}))
        sent = Signal(8)
        go = Signal()
        payload = buffer.input.payload
        m.d.comb += [
            go.eq(lengths.output.valid & buffer.input.ready),
            self.beat.ready.eq(go),
            buffer.input.valid.eq(lengths.output.valid & (self.beat.valid | self.drain)),
            payload.beat.data.eq(self.beat.payload.data),
            payload.beat.strobe.eq(Mux(self.drain, 0, self.beat.payload.strobe)),
            payload.last.eq(sent == lengths.output.payload),
            lengths.output.ready.eq(buffer.input.valid & buffer.input.ready & payload.last),
            self.axi.wvalid.eq(buffer.output.valid),
            self.axi.wdata.eq(buffer.output.payload.beat.data),
            self.axi.wstrb.eq(buffer.output.payload.beat.strobe),
            self.axi.wlast.eq(buffer.output.payload.last),
            buffer.output.ready.eq(self.axi.wready),
        ]
        with m.If(buffer.input.valid & buffer.input.ready):
            m.d.sync += sent.eq(Mux(payload.last, 0, sent + 1))

    def _finish(self, m, marks, response):
        """Match responses with the marks of their bursts."""
        waiting = Signal(range(self._config.bus.writes_in_flight + 1))
        mark = marks.output
        matched = Signal()
        m.d.comb += [
            matched.eq(mark.valid & ~mark.payload.empty & (waiting != 0)),
            mark.ready.eq(mark.valid & (mark.payload.empty | (waiting != 0))),
        ]
        m.d.sync += [
            waiting.eq(waiting + response - matched),
            self.finish.eq(mark.ready & mark.payload.last),
        ]
