"""The sequencer: walks the six loops of a compute instruction, one step a cycle."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import LOOPS, command_layout, step_layout
from tilewright.hw.timing import row_delay_cycles, step_interval
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

#: Loops that each operand's address depends on.
OPERAND_LOOPS = {"a": LOOPS, "w": LOOPS, "b": OUT_LOOPS, "p": OUT_LOOPS, "d": OUT_LOOPS}


class Sequencer(wiring.Component):
    """Issues the steps of one instruction after the other, without a gap where `timing.step_interval` is 1.

    Every operand has an address register for each loop: where that loop's current iteration begins. When a loop
    advances, one adder makes its next address, which all loops inside it take over, too.
    While nothing is left to be issued, counters and addresses follow `command`: `load` comes late, and only says
    whether they are used.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    load : In(1)
        Take over `command`; it issues from the next cycle on. Only while `free`.
    command : In(command_layout)
    free : Out(1)
        Nothing is issued after this cycle, unless loaded.
    halt : In(1)
        Issue nothing from the next cycle on, stay.
    window_completes : In(1)
        Only with the depthwise mode: its next step may be issued in the next cycle, and is.
    step : Out(step_layout)
        What is issued in this cycle; addresses mean nothing without `valid`.
    active : Out(command_layout)
        The instruction that `step` belongs to.
    """

    def __init__(self, isa: InstructionSet):
        self._config = isa.config
        self._layout = command_layout(isa)
        self._step_layout = step_layout(isa.config)
        self._has_depthwise = isa.config.depthwise.enabled
        self._row_delays = {op.code: row_delay_cycles(isa.config, op) for op in isa.row_ops}
        ports = {
            "load": In(1),
            "command": In(self._layout),
            "free": Out(1),
            "halt": In(1),
            "step": Out(self._step_layout),
            "active": Out(self._layout),
        }
        if self._has_depthwise:
            ports["window_completes"] = In(1)
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        active = Signal(self._layout, reset_less=True)
        issue, leaves = Signal(), Signal()
        busy, halted = self._elaborate_issue(m, issue, leaves)
        m.d.comb += self.active.eq(active)
        with m.If(self.load):
            m.d.sync += active.eq(self.command)

        # Bit i of `ends`: loop i is in its last iteration. Of `advances`: it advances after this step, as the innermost
        # loop that is not; at most one does. Both stand in registers.
        ends, advances = Signal(len(LOOPS)), Signal(len(LOOPS))
        finishes = self._elaborate_counters(m, ends, advances, issue, active)
        for operand, names in OPERAND_LOOPS.items():
            self._elaborate_address(m, operand, names, issue, advances, active)

        drains, follows = Signal(), Signal(init=1)
        if self._row_delays:
            self._elaborate_drain(m, drains, follows, active)
        reduction_ends = ends[len(OUT_LOOPS) :].all()
        first = Signal(init=1)
        with m.If(self.load):
            m.d.sync += first.eq(1)
        with m.Elif(issue):
            m.d.sync += first.eq(reduction_ends)
        m.d.comb += [
            self.step.valid.eq(issue & ~active.empty),
            self.step.first.eq(first),
            self.step.last.eq(reduction_ends),
            self.step.end.eq(leaves),
            leaves.eq(issue & finishes),
            self.free.eq(~halted & ~drains & (~busy | (leaves & follows))),
        ]
        return m

    def _elaborate_issue(self, m: Module, issue: Signal, leaves: Value) -> tuple[Signal, Signal]:
        """Decide a cycle before whether a step is issued; return whether anything is left, and whether halted."""
        busy, halted = Signal(), Signal()
        stays = busy & ~leaves
        m.d.sync += [busy.eq(self.load | stays), halted.eq(self.halt)]
        waits: Value = Const(0, 1)
        if self._has_depthwise:
            is_windowed = Signal()
            chosen = Mux(self.load, self.command.depthwise & ~self.command.empty, is_windowed)
            waits = chosen & ~self.window_completes
            m.d.sync += is_windowed.eq(chosen)
        if self._config.epilogue.interval > 1:
            waits = waits | self._elaborate_interval(m, issue)
        m.d.sync += issue.eq((self.load | stays) & ~self.halt & ~waits)
        return busy, halted

    def _elaborate_interval(self, m: Module, issue: Value) -> Value:
        """Tell whether a step in the next cycle would be too soon after one in the last cycles, the latest bit 0.

        An interval is less than five cycles: reductions that need gaps have one loop.
        """
        cycles = self._config.epilogue.interval - 1
        gaps: Value = Const(0, cycles)
        extents = [self.command[f"extent_{name}"] for name in RED_LOOPS]
        single = self.command.single[len(OUT_LOOPS) :]
        for reduction in range(1, cycles + 1):
            is_short = Cat((x == reduction) & (single | 1 << i).all() for i, x in enumerate(extents)).any()
            gap = (1 << step_interval(self._config, reduction) - 1) - 1
            gaps = gaps | Mux(is_short & ~self.command.empty, gap, 0)
        own, chosen, before = Signal(cycles), Signal(cycles), Signal(cycles - 1)
        m.d.comb += chosen.eq(Mux(self.load, gaps, own))
        m.d.sync += [own.eq(chosen), before.eq(Cat(issue, before))]
        return (chosen & Cat(issue, before)).any()

    def _elaborate_drain(self, m: Module, drains: Signal, follows: Signal, active) -> None:
        """Wait after a row instruction, whose results come late; `active` stays until the last is taken over."""
        left = Signal(range(max(self._row_delays.values()) + 1))
        m.d.comb += [drains.eq(left != 0), follows.eq(~active.row)]
        cycles = Signal.like(left)
        with m.Switch(active.op):
            for code, delay in self._row_delays.items():
                with m.Case(code):
                    m.d.comb += cycles.eq(delay - 1)
        with m.If(self.step.end & active.row):
            m.d.sync += left.eq(cycles)
        with m.Elif(drains):
            m.d.sync += left.eq(left - 1)

    def _elaborate_counters(self, m: Module, ends: Value, advances: Value, issue: Value, active) -> Signal:
        """Count each loop down; return whether all are in their last iterations, which starts the next instruction."""
        finishes, following = Signal(reset_less=True), Signal(len(LOOPS))
        for i, name in enumerate(LOOPS):
            extent = active[f"extent_{name}"]
            left = Signal.like(Value.cast(extent), name=f"left_{name}", reset_less=True)
            outer_advances = advances[:i].any() if i else Const(0, 1)
            m.d.comb += following[i].eq(Mux(outer_advances, active.single[i], Mux(advances[i], left == 2, ends[i])))
            with m.If(self.free):
                m.d.sync += left.eq(self.command[f"extent_{name}"])
            with m.Elif(issue & outer_advances):
                m.d.sync += left.eq(extent)
            with m.Elif(issue & advances[i]):
                m.d.sync += left.eq(left - 1)
        single = self.command.single | self.command.empty.replicate(len(LOOPS))
        with m.If(self.free):
            m.d.sync += [ends.eq(single), advances.eq(_innermost(single)), finishes.eq(single.all())]
        with m.Elif(issue):
            m.d.sync += [ends.eq(following), advances.eq(_innermost(following)), finishes.eq(following.all())]
        return finishes

    def _elaborate_address(self, m: Module, operand: str, names, issue: Value, advances: Value, active) -> None:
        bits = self._step_layout[operand].width
        starts = [Signal(bits, name=f"{operand}_start_{name}", reset_less=True) for name in names]
        chosen = [advances[i] for i in range(len(names))]
        start = reduce(or_, (Mux(c, s, 0) for c, s in zip(chosen, starts, strict=True)))
        strides = [active[f"{operand}_{name}"][:bits] for name in names]
        stride = reduce(or_, (Mux(c, s, 0) for c, s in zip(chosen, strides, strict=True)))
        following = Signal(bits, name=f"{operand}_following")
        m.d.comb += [following.eq(start + stride), self.step[operand].eq(starts[-1])]
        for i, register in enumerate(starts):
            with m.If(self.free):
                m.d.sync += register.eq(self.command[f"{operand}_base"])
            with m.Elif(issue & Cat(chosen[: i + 1]).any()):
                m.d.sync += register.eq(following)


def _innermost(ends: Value) -> Value:
    """Return a bit for each loop: of those that are not in their last iteration, the innermost."""
    return Cat(*(~ends[i] & ends[i + 1 :].all() for i in range(len(LOOPS) - 1)), ~ends[len(LOOPS) - 1])
