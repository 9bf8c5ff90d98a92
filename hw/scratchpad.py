"""The activation scratchpad."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tilewright.hw.interleaved_bank import InterleavedBank
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.signatures import (
    ACT_HALVES,
    ActReadSignature,
    ActStoreSignature,
    ActWriteSignature,
    act_load_signature,
    address_bits,
    row_layout,
)
from tilewright.hw.timing import MEMORY_READ_CYCLES, act_read_cycles
from tilewright.isa.config import Config


class ActScratchpad(wiring.Component):
    """`act_rows` rows of `ratio` atoms, one bank an atom; two reads a cycle, and writes of an even and an odd row.

    Compute goes first: read port `b` serves the store engine in the cycles in which compute does not use it, and rows
    of the load engine are written except in the cycle of a result in the same half. A read sees the writes of earlier
    cycles.

    Parameters
    ----------
    config : Config

    Members
    -------
    a, b : In(ActReadSignature)
        Compute's reads.
    d : In(ActWriteSignature)
        Compute's results.
    load : In(stream of rows).array(ACT_HALVES)
        Even rows, odd rows.
    store : In(ActStoreSignature)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "a": In(ActReadSignature(config)),
                "b": In(ActReadSignature(config)),
                "d": In(ActWriteSignature(config)),
                "load": In(act_load_signature(config)).array(ACT_HALVES),
                "store": In(ActStoreSignature(config)),
            }
        )
        self.banks = [
            InterleavedBank(8 * config.atom_bytes, config.act_rows, read_ports=2) for _ in range(config.ratio)
        ]

    def elaborate(self, platform):
        m = Module()
        for i, bank in enumerate(self.banks):
            m.submodules[f"bank{i}"] = bank

        second = ActReadSignature(self._config).create(path=("second",))
        from_store = Cat(Const(0, address_bits(self._config.ratio)), self.store.request.payload)
        m.d.comb += [
            second.addr.eq(Mux(self.b.en, self.b.addr, from_store)),
            second.en.eq(self.b.en | self.store.request.valid),
            second.wide.eq(self.b.wide | ~self.b.en),
            self.store.request.ready.eq(~self.b.en),
            self.b.data.eq(second.data),
            self.b.early.eq(second.early),
            self.store.response.eq(second.data),
        ]
        m.submodules.accepted = accepted = ControlPipe()
        accepted.add("response", self.store.request.valid & ~self.b.en, resettable=True)
        m.d.comb += self.store.response_valid.eq(accepted.at("response", act_read_cycles(self._config)))

        self._elaborate_read(m, 0, self.a)
        self._elaborate_read(m, 1, second)
        self._elaborate_write(m)
        return m

    def _elaborate_read(self, m, index, port):
        ratio = self._config.ratio
        atom_bits = address_bits(ratio)
        chosen = port.addr[:atom_bits]
        for i, bank in enumerate(self.banks):
            wanted = port.wide | (chosen == i) if ratio > 1 else 1
            m.d.comb += [bank.read[index].addr.eq(port.addr[atom_bits:]), bank.read[index].en.eq(port.en & wanted)]
        words = [bank.read[index].data for bank in self.banks]
        if ratio == 1:
            m.d.comb += [port.data[0].eq(words[0]), port.early[0].eq(self.banks[0].early[index])]
            return
        m.submodules[f"read{index}"] = pipe = ControlPipe()
        pipe.add("chosen", chosen)
        pipe.add("wide", port.wide)
        pipe.add("en", port.en, resettable=True)
        row = Signal(row_layout(self._config), name=f"row{index}", reset_less=True)
        atom = Array(words)[pipe.at("chosen", MEMORY_READ_CYCLES)]
        lowest = Mux(pipe.at("wide", MEMORY_READ_CYCLES), words[0], atom)
        m.d.comb += [port.early.eq(Cat(lowest, *words[1:])), port.data.eq(row)]
        with m.If(pipe.at("en", MEMORY_READ_CYCLES)):
            m.d.sync += row.eq(port.early)

    def _elaborate_write(self, m):
        for half, load in enumerate(self.load):
            goes_here = Signal(name=f"result{half}")  # not `halves`: that is for those who wait
            m.d.comb += [goes_here.eq(self.d.valid & (self.d.row[0] == half)), load.ready.eq(~self.d.halves[half])]
            for i, bank in enumerate(self.banks):
                m.d.comb += [
                    bank.write[half].addr.eq(Mux(goes_here, self.d.row[1:], load.payload.row[1:])),
                    bank.write[half].data.eq(Mux(goes_here, self.d.data[i], load.payload.data[i])),
                    bank.write[half].en.eq(Mux(goes_here, self.d.en[i], load.valid)),
                ]
