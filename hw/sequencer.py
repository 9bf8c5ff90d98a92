"""The sequencer: walks the six loops of a compute instruction, one step a cycle."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import LOOPS, command_layout, member, step_layout
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
        Nothing is issued after this cycle, unless loaded; a register, as `step`'s flags are.
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
        m.d.comb += self.active.eq(active)
        with m.If(self.load):
            m.d.sync += active.eq(self.command)

        # Bit i of `ends`: loop i is in its last iteration. Of `advances`: it advances after this step, as the innermost
        # loop that is not; at most one does. Both stand in registers.
        ends, advances, last = Signal(len(LOOPS)), Signal(len(LOOPS)), Signal()
        finishes = self._elaborate_counters(m, ends, advances, last, issue, active)
        for operand, names in OPERAND_LOOPS.items():
            self._elaborate_address(m, operand, names, issue, advances, active)

        drains: Value = Const(0, 1)
        if self._row_delays:
            drains = self._elaborate_drain(m, leaves, active)
        self._elaborate_issue(m, issue, leaves, finishes, drains)
        first = Signal(init=1)
        with m.If(self.load):
            m.d.sync += first.eq(1)
        with m.Elif(issue):
            m.d.sync += first.eq(last)
        m.d.comb += [self.step.first.eq(first), self.step.last.eq(last), self.step.end.eq(leaves)]
        return m

    def _elaborate_issue(self, m: Module, issue: Signal, leaves: Signal, finishes: Value, drains: Value) -> None:
        """Decide a cycle before whether a step is issued, whether it is the last, and whether anything follows.

        Everything is decided for the command and for the instruction under way; `load`, which comes late, chooses.
        """
        busy, command, active = Signal(), self.command, self.active
        free, valid = Signal(init=1), Signal()
        stays = busy & ~leaves
        begins, goes_on = ~self.halt, stays & ~self.halt
        if self._has_depthwise:
            is_windowed, will_be = Signal(), command.depthwise & ~command.empty
            begins = begins & ~(will_be & ~self.window_completes)
            goes_on = goes_on & ~(is_windowed & ~self.window_completes)
            with m.If(self.load):
                m.d.sync += is_windowed.eq(will_be)
        if self._config.epilogue.interval > 1:
            begins_early, goes_on_early = self._elaborate_interval(m, issue)
            begins, goes_on = begins & ~begins_early, goes_on & ~goes_on_early
        single = (command.single | command.empty.replicate(len(LOOPS))).all()
        ends_at_once, ends = begins & single, goes_on & finishes
        m.d.sync += [
            busy.eq(self.load | stays),
            issue.eq(Mux(self.load, begins, goes_on)),
            valid.eq(Mux(self.load, begins & ~command.empty, goes_on & ~active.empty)),
            leaves.eq(Mux(self.load, ends_at_once, ends)),
            free.eq(
                ~self.halt
                & ~drains
                & Mux(self.load, ends_at_once & ~member(command, "row"), ~stays | (ends & ~member(active, "row")))
            ),
        ]
        m.d.comb += [self.step.valid.eq(valid), self.free.eq(free)]

    def _elaborate_interval(self, m: Module, issue: Value) -> tuple[Value, Value]:
        """Tell whether a step in the next cycle would be too soon after one in the last cycles, the latest bit 0.

        The first answer is for a step of the command, the second for one of the instruction under way.

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
        own, before = Signal(cycles), Signal(cycles - 1)
        m.d.sync += before.eq(Cat(issue, before))
        with m.If(self.load):
            m.d.sync += own.eq(gaps)
        issued = Cat(issue, before)
        return (gaps & issued).any(), (own & issued).any()

    def _elaborate_drain(self, m: Module, leaves: Value, active) -> Value:
        """Wait after a row instruction, whose results come late; `active` stays until the last is taken over.

        Return whether the next cycle is one of those.
        """
        left = Signal(range(max(self._row_delays.values()) + 1))
        cycles = Signal.like(left)
        with m.Switch(active.op):
            for code, delay in self._row_delays.items():
                with m.Case(code):
                    m.d.comb += cycles.eq(delay - 1)
        with m.If(leaves & active.row):
            m.d.sync += left.eq(cycles)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return Mux(leaves & active.row, cycles != 0, left > 1)

    def _elaborate_counters(self, m: Module, ends: Value, advances: Value, last: Signal, issue: Value, active) -> Value:
        """Count each loop down; return whether all will be in their last iterations in the next cycle, if none begins.

        `last` says whether those of the reduction are.
        """
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
        reduction = slice(len(OUT_LOOPS), None)
        with m.If(self.free):
            m.d.sync += [ends.eq(single), advances.eq(_innermost(single))]
            m.d.sync += [finishes.eq(single.all()), last.eq(single[reduction].all())]
        with m.Elif(issue):
            m.d.sync += [ends.eq(following), advances.eq(_innermost(following))]
            m.d.sync += [finishes.eq(following.all()), last.eq(following[reduction].all())]
        return Mux(issue, following.all(), finishes)

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
