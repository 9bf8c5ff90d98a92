"""The control and status registers on AXI4-Lite, laid out by the table in `tilewright.isa.registers`."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.axi import AxiLiteSignature
from tilewright.isa import registers
from tilewright.isa.config import ISA_VERSION, Config

_WORD_BYTES = 4


class CounterEvents(wiring.Signature):
    """One bit for each performance counter, named alike: count this cycle."""

    def __init__(self) -> None:
        super().__init__({name: Out(1) for name, _ in registers.COUNTERS})


class ControlRegisters(wiring.Component):
    """One access at a time; a read answers two cycles after its address, a write one cycle after address and data.

    Members
    -------
    s_axi : In(AxiLiteSignature)
    start, reset : Out(1)
        High for one cycle when commanded.
    base : Out(address)
    program_offset : Out(address)
    count : Out(32)
    busy, finished : In(1)
    error : In(8)
        Fields of STATUS.
    stopped : In(1)
        A run ends; raises the interrupt where enabled.
    irq : Out(1)
    clear_counters : In(1)
    events : In(CounterEvents)
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "s_axi": In(AxiLiteSignature()),
                "start": Out(1),
                "reset": Out(1),
                "base": Out(config.bus.address_bits),
                "program_offset": Out(config.bus.address_bits),
                "count": Out(32),
                "busy": In(1),
                "finished": In(1),
                "error": In(8),
                "stopped": In(1),
                "irq": Out(1),
                "clear_counters": In(1),
                "events": In(CounterEvents()),
            }
        )
        self._config = config

    def elaborate(self, platform):
        m = Module()
        kept = [r.name for r in registers.REGISTERS if r.access is registers.Access.READ_WRITE]
        stored = {name: Signal(32, name=f"stored_{name.lower()}") for name in kept}
        pending = Signal()
        written = self._write_channel(m, stored)
        values = {**self._fixed_values(), **stored, **self._counters(m), "IRQ_PENDING": pending}
        values["STATUS"] = Cat(self.busy, self.finished, Const(0, 6), self.error)
        self._read_channel(m, values)

        command = self.s_axi.wdata
        m.d.comb += [
            self.base.eq(Cat(Const(0, 12), stored["BASE_LOW"][12:], stored["BASE_HIGH"])),
            self.program_offset.eq(stored["PROGRAM"]),
            self.count.eq(stored["COUNT"]),
            self.irq.eq(pending & stored["IRQ_ENABLE"][0]),
        ]
        m.d.sync += [
            self.start.eq(written["CONTROL"] & command[0] & ~command[1]),
            self.reset.eq(written["CONTROL"] & command[1]),
        ]
        with m.If(self.stopped):
            m.d.sync += pending.eq(1)
        with m.Elif(written["IRQ_PENDING"] & command[0]):
            m.d.sync += pending.eq(0)
        return m

    def _write_channel(self, m, stored):
        """Take address and data together; return for every register whether its lowest byte is written now."""
        axi = self.s_axi
        go = Signal()
        m.d.comb += [
            go.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(go),
            axi.wready.eq(go),
        ]
        with m.If(go):
            m.d.sync += axi.bvalid.eq(1)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        written = {}
        for register in registers.REGISTERS:
            written[register.name] = hit = Signal(name=f"writes_{register.name.lower()}")
            m.d.comb += hit.eq(go & axi.wstrb[0] & (axi.awaddr[2:] == register.offset // _WORD_BYTES))
        for register in registers.REGISTERS:
            if register.name not in stored:
                continue
            selected = go & (axi.awaddr[2:] == register.offset // _WORD_BYTES)
            for byte in range(_WORD_BYTES):
                with m.If(selected & axi.wstrb[byte]):
                    m.d.sync += stored[register.name].word_select(byte, 8).eq(axi.wdata.word_select(byte, 8))
        return written

    def _read_channel(self, m, values):
        """Register which register is meant, then its value."""
        axi = self.s_axi
        readable = [register for register in registers.REGISTERS if register.name in values]
        chosen = Signal(len(readable))
        looking_up = Signal()
        m.d.comb += axi.arready.eq(~looking_up & ~axi.rvalid)
        with m.If(axi.arvalid & axi.arready):
            places = (register.offset // _WORD_BYTES for register in readable)
            m.d.sync += [chosen.eq(Cat(axi.araddr[2:] == place for place in places)), looking_up.eq(1)]
        with m.If(looking_up):
            found = (Mux(chosen[i], values[register.name], 0) for i, register in enumerate(readable))
            m.d.sync += [looking_up.eq(0), axi.rvalid.eq(1), axi.rdata.eq(reduce(or_, found))]
        with m.Elif(axi.rready):
            m.d.sync += axi.rvalid.eq(0)

    def _fixed_values(self):
        config_hash = int(self._config.hash, 16)
        return {
            "ID": Const(registers.MAGIC, 32),
            "VERSION": Const(ISA_VERSION, 32),
            "HASH_LOW": Const(config_hash & 0xFFFFFFFF, 32),
            "HASH_HIGH": Const(config_hash >> 32, 32),
        }

    def _counters(self, m):
        """Count events, 64 bits wide; return the counters' halves by register name."""
        halves = {}
        for name, _ in registers.COUNTERS:
            counter = Signal(64, name=name)
            with m.If(self.clear_counters):
                m.d.sync += counter.eq(0)
            with m.Else():
                m.d.sync += counter.eq(counter + getattr(self.events, name))
            halves[f"{name.upper()}_LOW"] = counter[:32]
            halves[f"{name.upper()}_HIGH"] = counter[32:]
        return halves
