"""The harness of the control registers: what was written is read, and every access is answered once."""

from __future__ import annotations

from amaranth.hdl import Module, Signal

from tests.formal.prover import Harness
from tilewright.hw.csr import ControlRegisters
from tilewright.isa.config import ISA_VERSION, PRESETS
from tilewright.isa.registers import MAGIC, REGISTERS, Access

CONFIG = PRESETS["tiny"]
OFFSETS = {register.name: register.offset for register in REGISTERS}
STORED = tuple(register.name for register in REGISTERS if register.access is Access.READ_WRITE)


class Registers(Harness):
    """A master that waits for its answers; bytes written are followed here. `broken`: strobes are not looked at."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        widths = {"awaddr": 12, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "bready": 1, "araddr": 12}
        self.inputs_by_name = {n: self.free(w, n) for n, w in {**widths, "arvalid": 1, "rready": 1}.items()}
        self.status = self.free(10, "status")

    def build(self, m: Module) -> None:
        m.submodules.part = part = ControlRegisters(CONFIG)
        axi = part.s_axi
        for name, value in self.inputs_by_name.items():
            m.d.comb += getattr(axi, name).eq(value)
        m.d.comb += [part.busy.eq(self.status[0]), part.finished.eq(self.status[1]), part.error.eq(self.status[2:])]
        written, asked = axi.awvalid & axi.awready & axi.wvalid & axi.wready, axi.arvalid & axi.arready
        unanswered = {name: Signal(2, name=f"unanswered_{name}") for name in ("write", "read")}
        m.d.sync += unanswered["write"].eq(unanswered["write"] + written - (axi.bvalid & axi.bready))
        m.d.sync += unanswered["read"].eq(unanswered["read"] + asked - (axi.rvalid & axi.rready))
        address, age, before = Signal(12), Signal(2), Signal(32)
        with m.If(asked):
            m.d.sync += [address.eq(axi.araddr), age.eq(0)]
        with m.Elif(age != 3):
            m.d.sync += age.eq(age + 1)
        was_held = Signal()
        m.d.sync += [was_held.eq(axi.rvalid & ~axi.rready), before.eq(axi.rdata)]
        self.promise(
            axi.awready == axi.wready,
            ~axi.bvalid | (unanswered["write"] == 1),
            ~axi.rvalid | (unanswered["read"] == 1),
            (unanswered["read"] == 0) | (age == 0) | axi.rvalid,
            ~was_held | (axi.rvalid & (axi.rdata == before)),
        )
        first = axi.rvalid & ~was_held
        constants = {"ID": MAGIC, "VERSION": ISA_VERSION, "HASH_LOW": int(CONFIG.hash, 16) & 0xFFFFFFFF}
        for name, value in constants.items():
            self.promise(~(first & (address[2:] == OFFSETS[name] // 4)) | (axi.rdata == value))
        for name in STORED:
            self._follow(m, axi, written, name, first & (address[2:] == OFFSETS[name] // 4))

    def _follow(self, m: Module, axi, written: Signal, name: str, read: Signal) -> None:
        """Follow a register that is kept; a read gives it as it was when it was looked up, a cycle before."""
        value, earlier = Signal(32, name=f"true_{name}"), Signal(32, name=f"earlier_{name}")
        hit = written & (axi.awaddr[2:] == OFFSETS[name] // 4)
        for byte in range(4):
            with m.If(hit & (1 if self.broken else axi.wstrb[byte])):
                m.d.sync += value.word_select(byte, 8).eq(axi.wdata.word_select(byte, 8))
        m.d.sync += earlier.eq(value)
        self.promise(~read | (axi.rdata == earlier))
