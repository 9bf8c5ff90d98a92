"""The accelerator: every part, and the wires between them."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.axi import AxiLiteSignature, AxiMasterSignature, forward
from tilewright.hw.compute_engine import ComputeEngine
from tilewright.hw.csr import ControlRegisters
from tilewright.hw.dispatch import Dispatch
from tilewright.hw.fetch import Fetch
from tilewright.hw.load_engine import LoadEngine
from tilewright.hw.read_port import ReadPort
from tilewright.hw.run_control import RunControl
from tilewright.hw.scratchpad import ActScratchpad
from tilewright.hw.store_engine import StoreEngine
from tilewright.hw.tokens import TokenCounters
from tilewright.hw.vector_alu import VECTOR_DATAPATH, Combine
from tilewright.hw.write_port import WritePort
from tilewright.isa.instructions import Engine, InstructionSet


class TraceSignature(wiring.Signature):
    """For simulators: each engine's next instruction starts, or completes, in this cycle; both in queue order."""

    def __init__(self) -> None:
        super().__init__({f"{engine}_{event}": Out(1) for engine in Engine for event in ("start", "finish")})


class Accelerator(wiring.Component):
    """The top level.

    Parameters
    ----------
    isa : InstructionSet
    datapath : mapping of str to Combine
        The hardware of each vector operation.

    Members
    -------
    m_axi : Out(AxiMasterSignature)
        Read ids: 0 fetch, 1 load; writes have id 0.
    s_axi : In(AxiLiteSignature)
        The registers of `tilewright.isa.registers`.
    irq : Out(1)
    trace : Out(TraceSignature)
    """

    def __init__(self, isa: InstructionSet, datapath: Mapping[str, Combine] = VECTOR_DATAPATH):
        config = isa.config
        super().__init__(
            {
                "m_axi": Out(AxiMasterSignature(config)),
                "s_axi": In(AxiLiteSignature()),
                "irq": Out(1),
                "trace": Out(TraceSignature()),
            }
        )
        self._has_tables = config.epilogue.tables > 0
        self.control = RunControl()
        self.registers = ControlRegisters(config)
        self.read_port = ReadPort(config)
        self.write_port = WritePort(config)
        self.fetch = Fetch(isa)
        self.dispatch = Dispatch(isa)
        self.tokens = TokenCounters(config)
        self.load = LoadEngine(isa)
        self.compute = ComputeEngine(isa, datapath)
        self.store = StoreEngine(isa)
        self.scratchpad = ActScratchpad(config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = self.control
        m.submodules.registers = self.registers
        for name in (
            "read_port", "write_port", "fetch", "dispatch", "tokens", "load", "compute", "store", "scratchpad",
        ):  # fmt: skip
            m.submodules[name] = ResetInserter(self.control.clear)(getattr(self, name))
        self._connect_instructions(m)
        self._connect_memory(m)
        self._connect_scratchpads(m)
        self._connect_control(m)
        self._connect_counters(m)
        self._connect_trace(m)
        return m

    def _connect_instructions(self, m):
        connect(m, self.fetch.instruction, self.dispatch.instruction)
        for engine in Engine:
            connect(m, getattr(self.dispatch, engine), getattr(self, engine).instruction)
            connect(m, getattr(self, engine).tokens, getattr(self.tokens, engine))

    def _connect_memory(self, m):
        connect(m, self.fetch.burst, self.read_port.fetch)
        connect(m, self.load.burst, self.read_port.load)
        connect(m, self.read_port.fetch_beat, self.fetch.beat)
        connect(m, self.read_port.load_beat, self.load.beat)
        connect(m, self.store.burst, self.write_port.burst)
        connect(m, self.store.beat, self.write_port.beat)
        forward(m, self.m_axi, self.read_port.axi)
        forward(m, self.m_axi, self.write_port.axi)
        m.d.comb += self.store.written.eq(self.write_port.finish)
        for port in (self.read_port, self.write_port):
            m.d.comb += [port.base.eq(self.registers.base), port.drain.eq(self.control.drain)]

    def _connect_scratchpads(self, m):
        connect(m, self.compute.act_a, self.scratchpad.a)
        connect(m, self.compute.act_b, self.scratchpad.b)
        connect(m, self.compute.act_d, self.scratchpad.d)
        for loaded, half in zip(self.load.act, self.scratchpad.load, strict=True):
            connect(m, loaded, half)
        connect(m, self.store.rows, self.scratchpad.store)
        connect(m, self.load.wgt, self.compute.wgt_write)
        connect(m, self.load.prm, self.compute.prm_write)
        if self._has_tables:
            connect(m, self.load.tbl, self.compute.tbl_write)

    def _connect_control(self, m):
        control, registers = self.control, self.registers
        connect(m, flipped(self.s_axi), registers.s_axi)
        engines_busy = self.load.busy | self.compute.busy | self.store.busy
        bus_busy = self.read_port.busy | self.write_port.busy
        starts = self.load.start | self.compute.start | self.store.start
        moving = self.dispatch.instruction.valid & self.dispatch.instruction.ready
        m.d.comb += [
            control.start.eq(registers.start),
            control.reset.eq(registers.reset),
            control.waiting.eq(self.tokens.waiting),
            control.illegal.eq(self.dispatch.illegal | self.compute.illegal),
            control.read_error.eq(self.read_port.error),
            control.write_error.eq(self.write_port.error),
            control.bus_busy.eq(bus_busy),
            self.compute.halt.eq(control.drain),
            self.fetch.begin.eq(control.begin),
            self.fetch.program_offset.eq(registers.program_offset),
            self.fetch.count.eq(registers.count),
            registers.busy.eq(control.busy),
            registers.finished.eq(control.finished),
            registers.error.eq(control.error),
            registers.stopped.eq(control.stopped),
            registers.clear_counters.eq(control.begin),
            self.irq.eq(registers.irq),
        ]
        m.d.sync += [
            control.done.eq(control.running & self.fetch.done & self.dispatch.empty & ~engines_busy),
            control.quiet.eq(~(engines_busy | bus_busy | starts | moving)),
        ]

    def _connect_counters(self, m):
        """Count what happens while a program runs, one cycle late, so that no path is long for it."""
        control = self.control

        def waits(engine):
            return engine.tokens.wait_request & ~engine.tokens.wait_grant

        events = {
            "cycles": 1,
            "load_busy": self.load.busy,
            "load_wait": waits(self.load),
            "compute_busy": self.compute.step,
            "compute_wait": waits(self.compute),
            "compute_fence": self.compute.fence_wait,
            "store_busy": self.store.busy,
            "store_wait": waits(self.store),
            "fetch_wait": self.dispatch.blocked,
            "gemm_steps": self.compute.gemm_step,
            "read_beats": self.read_port.beat_taken,
            "read_bursts": self.read_port.burst_taken,
            "write_beats": self.write_port.beat_taken,
            "write_bursts": self.write_port.burst_taken,
        }
        for name, event in events.items():
            happens = Signal(name=f"counts_{name}")
            m.d.comb += happens.eq(event)
            m.d.sync += getattr(self.registers.events, name).eq(happens & control.running)

    def _connect_trace(self, m):
        for engine in Engine:
            part = getattr(self, engine)
            m.d.comb += [
                getattr(self.trace, f"{engine}_start").eq(part.start),
                getattr(self.trace, f"{engine}_finish").eq(part.tokens.signal_valid),
            ]
