"""Harnesses of the AXI master: stable requests, bursts within a page and not too long, LAST, bursts outstanding."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal

from tests.formal.prover import Harness
from tilewright.hw.axi import FETCH_ID, LOAD_ID, PAGE_BYTES
from tilewright.hw.burst_generator import BurstGenerator, RequestLayout
from tilewright.hw.read_port import ReadPort
from tilewright.hw.write_port import WritePort
from tilewright.isa.config import PRESETS

CONFIG = PRESETS["tiny"].with_values(
    bus={"address_bits": 20, "burst_beats": 4, "reads_in_flight": 2, "writes_in_flight": 2}
)
PAGE_BEATS = PAGE_BYTES // CONFIG.bus_bytes


def held(harness: Harness, m: Module, valid: Signal, ready: Signal, *payload: Signal, name: str) -> Signal:
    """Return whether the channel keeps what it offered in the last cycle and was not taken."""
    was_held, before = Signal(name=f"{name}_was_held"), Signal(len(Cat(payload)), name=f"{name}_before")
    m.d.sync += [was_held.eq(valid & ~ready), before.eq(Cat(payload))]
    return ~was_held | (valid & (Cat(payload) == before))


class Bursts(Harness):
    """A request becomes bursts: one after the other, all of it, none too long or across a page, `last` at its end.

    `broken`: bursts may be twice as long as promised.
    """

    BEATS_BITS = 4

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        self.layout = RequestLayout(CONFIG, self.BEATS_BITS)
        self.request, self.valid = self.free(self.layout.size, "request"), self.free(1, "valid")
        self.ready = self.free(1, "ready")

    def build(self, m: Module) -> None:
        limit = CONFIG.bus.burst_beats
        m.submodules.part = part = BurstGenerator(CONFIG, limit * (2 if self.broken else 1), self.BEATS_BITS)
        request, burst = part.request.payload, part.burst.payload
        m.d.comb += [
            part.request.payload.eq(self.request),
            part.request.valid.eq(self.valid),
            part.burst.ready.eq(self.ready),
        ]
        self.assume(~request.empty)
        taken, sent = self.valid & part.request.ready, part.burst.valid & self.ready
        beat, left, last = Signal(len(burst.beat)), Signal(1 + self.BEATS_BITS), Signal()
        count = burst.length + 1
        with m.If(taken):
            m.d.sync += [beat.eq(request.beat), left.eq(request.more + 1), last.eq(request.last)]
        with m.Elif(sent):
            m.d.sync += [beat.eq(beat + count), left.eq(left - count)]
        page = PAGE_BEATS.bit_length() - 1
        self.promise(
            ~part.burst.valid | ((burst.beat == beat) & (count <= left) & (count <= limit)),
            ~part.burst.valid | (burst.beat[:page] + count <= PAGE_BEATS),
            ~part.burst.valid | (burst.last == (last & (count == left))),
            ~taken | (left == 0) | (sent & (count == left)),
            part.burst.valid == (left != 0),
            held(self, m, part.burst.valid, self.ready, burst.as_value(), name="burst"),
        )


class ReadMaster(Harness):
    """Requests stay until taken; no more bursts than allowed; beats go where they belong; fetch first, load else.

    The bus answers what is outstanding, in any order of ids. `broken`: it also answers what was not asked for.
    """

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        names = ("arready", "rvalid", "rlast", "rid", "drain", "fetch_valid", "load_valid", "load_ready")
        self.bits = {name: self.free(1, name) for name in names}
        self.bursts = {name: self.free(CONFIG.bus.address_bits - 3 + 10, f"{name}_burst") for name in ("fetch", "load")}

    def build(self, m: Module) -> None:
        m.submodules.part = part = ReadPort(CONFIG)
        axi, bits = part.axi, self.bits
        m.d.comb += [getattr(axi, name).eq(bits[name]) for name in ("arready", "rvalid", "rlast", "rid")]
        m.d.comb += [part.drain.eq(bits["drain"]), part.load_beat.ready.eq(bits["load_ready"])]
        m.d.comb += part.fetch_beat.ready.eq(1)
        for name in ("fetch", "load"):
            stream = getattr(part, name)
            m.d.comb += [stream.payload.eq(self.bursts[name]), stream.valid.eq(bits[f"{name}_valid"])]
        outstanding = Signal(4)
        asked, answered = axi.arvalid & axi.arready, axi.rvalid & axi.rready
        m.d.sync += outstanding.eq(outstanding + asked - (answered & axi.rlast))
        if not self.broken:
            self.assume(~axi.rvalid | (outstanding != 0))
        taken = {name: getattr(part, name).valid & getattr(part, name).ready for name in ("fetch", "load")}
        on_way = Signal(4)
        m.d.sync += on_way.eq(on_way + taken["fetch"] + taken["load"] - (answered & axi.rlast))
        self.promise(
            held(self, m, axi.arvalid, axi.arready, axi.araddr, axi.arlen, axi.arid, name="ar"),
            outstanding <= CONFIG.bus.reads_in_flight,
            on_way <= CONFIG.bus.reads_in_flight,
            part.busy == (on_way != 0),
            ~(taken["fetch"] & taken["load"]),
            ~part.fetch.valid | ~part.load.ready,
            ~(part.load.valid & ~part.fetch.valid & part.fetch.ready) | part.load.ready,
            ~(part.fetch_beat.valid & part.load_beat.valid),
        )
        self._follow_ids(m, part, answered)

    def _follow_ids(self, m: Module, part: ReadPort, answered: Signal) -> None:
        """Count the beats of each id on their way through the port: all come out, where they belong."""
        for number, name in ((FETCH_ID, "fetch"), (LOAD_ID, "load")):
            out = getattr(part, f"{name}_beat")
            inside = Signal(4, name=f"{name}_inside")
            dropped = part.drain & out.valid & ~out.ready
            m.d.sync += inside.eq(inside + (answered & (part.axi.rid == number)) - (out.valid & (out.ready | dropped)))
            self.promise(~out.valid | (inside != 0), inside <= 2)


class WriteMaster(Harness):
    """Requests and data stay until taken; LAST is on the last beat of each burst; responses end instructions.

    `broken`: the bus answers bursts whose data it has not seen.
    """

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        names = ("awready", "wready", "bvalid", "drain", "burst_valid", "beat_valid", "empty", "last")
        self.bits = {name: self.free(1, name) for name in names}
        self.length = self.free(2, "length")

    def build(self, m: Module) -> None:
        m.submodules.part = part = WritePort(CONFIG)
        axi, bits = part.axi, self.bits
        m.d.comb += [getattr(axi, name).eq(bits[name]) for name in ("awready", "wready", "bvalid")]
        burst = part.burst.payload
        m.d.comb += [
            part.drain.eq(bits["drain"]),
            part.burst.valid.eq(bits["burst_valid"]),
            part.beat.valid.eq(bits["beat_valid"]),
            burst.length.eq(self.length),
            burst.empty.eq(bits["empty"]),
            burst.last.eq(bits["last"]),
        ]
        once_drained = Signal()
        m.d.sync += once_drained.eq(once_drained | bits["drain"])
        self.assume(bits["drain"] | ~once_drained)  # a run that is drained is cleared before the next
        taken = part.burst.valid & part.burst.ready & ~burst.empty
        sent = axi.wvalid & axi.wready
        pending = Array(Signal(8, name=f"length{i}") for i in range(4))
        put, get, beats, unanswered = Signal(2), Signal(2), Signal(8), Signal(4)
        with m.If(taken):
            m.d.sync += [pending[put].eq(burst.length), put.eq(put + 1)]
        is_last = beats == pending[get]
        with m.If(sent):
            m.d.sync += [beats.eq(Mux(is_last, 0, beats + 1)), get.eq(get + is_last)]
        m.d.sync += unanswered.eq(unanswered + (sent & is_last) - axi.bvalid)
        if not self.broken:
            self.assume(~axi.bvalid | (unanswered != 0))
        outstanding = Signal(4)
        m.d.sync += outstanding.eq(outstanding + taken - axi.bvalid)
        self.promise(
            held(self, m, axi.awvalid, axi.awready, axi.awaddr, axi.awlen, name="aw"),
            held(self, m, axi.wvalid, axi.wready, axi.wlast, axi.wstrb, name="w"),
            ~axi.wvalid | (put != get),
            ~axi.wvalid | (axi.wlast == is_last),
            outstanding <= CONFIG.bus.writes_in_flight,
            part.busy == (outstanding != 0),
            axi.bready,
        )
