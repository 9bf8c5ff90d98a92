"""Starts, ends and stops a run."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.timing import DEADLOCK_CYCLES
from tilewright.isa.registers import Error


class RunControl(wiring.Component):
    """A start clears every engine, begins fetching, and runs until done, an error or a reset.

    After an error or a reset no new bursts are sent (`drain`) until those on their way are complete; then everything is
    cleared.

    Members
    -------
    start, reset : In(1)
        Commands.
    done : In(1)
        All instructions are complete.
    quiet : In(1)
        Nothing moves and nothing is on its way.
    waiting : In(1)
        An engine waits for a token.
    illegal, read_error, write_error : In(1)
    bus_busy : In(1)
        Bursts are on their way.
    clear : Out(1)
        Resets the engines, queues and tokens.
    begin : Out(1)
        Start fetching.
    drain : Out(1)
    running : Out(1)
        The cycles that count.
    stopped : Out(1)
        High for a cycle at the end of a run, however it ends.
    busy, finished : Out(1)
        As in STATUS.
    error : Out(Error)
        As in STATUS.
    """

    def __init__(self) -> None:
        inputs = ("start", "reset", "done", "quiet", "waiting", "illegal", "read_error", "write_error", "bus_busy")
        outputs = ("clear", "begin", "drain", "running", "stopped", "busy", "finished")
        super().__init__({**{n: In(1) for n in inputs}, **{n: Out(1) for n in outputs}, "error": Out(8)})

    def elaborate(self, platform):
        m = Module()
        quiet_cycles = Signal(range(DEADLOCK_CYCLES + 1))
        is_abandoned = Signal()  # by a reset: no interrupt, no error
        with m.If(self.quiet & self.waiting & self.running):
            m.d.sync += quiet_cycles.eq(quiet_cycles + 1)
        with m.Else():
            m.d.sync += quiet_cycles.eq(0)

        m.d.sync += self.clear.eq(0)  # it and `drain` stand in registers: all parts see them
        with m.FSM(name="run") as fsm:
            with m.State("IDLE"):
                with m.If(self.reset):
                    m.d.sync += [self.finished.eq(0), self.error.eq(Error.NONE)]
                with m.Elif(self.start):
                    m.d.sync += [self.finished.eq(0), self.error.eq(Error.NONE), is_abandoned.eq(0), self.clear.eq(1)]
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.next = "BEGIN"
                with m.If(self.reset):
                    m.next = "IDLE"
                with m.Elif(self.start):
                    self._drain(m, self.error.eq(Error.BUSY))
            with m.State("BEGIN"):
                m.d.comb += self.begin.eq(1)
                m.next = "RUN"
                with m.If(self.reset):
                    self._drain(m, is_abandoned.eq(1))
                with m.Elif(self.start):
                    self._drain(m, self.error.eq(Error.BUSY))
            with m.State("RUN"):
                m.d.comb += self.running.eq(1)
                self._run(m, quiet_cycles, is_abandoned)
            with m.State("DRAIN"):
                with m.If(self.reset):
                    m.d.sync += [self.error.eq(Error.NONE), is_abandoned.eq(1)]
                with m.If(~self.bus_busy):
                    m.d.sync += self.clear.eq(1)
                    m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += self.stopped.eq(~is_abandoned & ~self.reset)
                m.d.sync += self.drain.eq(0)
                with m.If(self.reset):
                    m.d.sync += self.error.eq(Error.NONE)
                m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

    def _drain(self, m, note):
        m.d.sync += [note, self.drain.eq(1)]
        m.next = "DRAIN"

    def _run(self, m, quiet_cycles, is_abandoned):
        """The first that applies ends the run."""
        causes = (
            (self.start, Error.BUSY),
            (self.read_error, Error.READ_RESPONSE),
            (self.write_error, Error.WRITE_RESPONSE),
            (self.illegal, Error.ILLEGAL_INSTRUCTION),
            (quiet_cycles == DEADLOCK_CYCLES, Error.DEADLOCK),
        )
        with m.If(self.reset):
            self._drain(m, is_abandoned.eq(1))
        for condition, error in causes:
            with m.Elif(condition):
                self._drain(m, self.error.eq(error))
        with m.Elif(self.done):
            m.d.comb += self.stopped.eq(1)
            m.d.sync += self.finished.eq(1)
            m.next = "IDLE"
