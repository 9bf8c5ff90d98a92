"""The window sequencer: walks the input pixels of a depthwise instruction, one a cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import LOOPS, command_layout, window_step_layout
from tilewright.hw.timing import depthwise_row_cycles
from tilewright.isa.instructions import InstructionSet


class WindowSequencer(wiring.Component):
    """Issues every pixel that some window of the instruction may hold, block by block, in raster order.

    In each direction a counter leads to the next place where windows end: from a row's first pixel it is the kernel's
    extent, from one such place to the next the stride. So no length is ever multiplied out.

    Parameters
    ----------
    isa : InstructionSet
        With the depthwise mode.

    Members
    -------
    load : In(1)
        Take over `command`, a depthwise instruction that is not empty; it issues from the next cycle on.
    command : In(command_layout)
    active : In(command_layout)
        The command taken over, from the cycle after `load` on.
    halt : In(1)
        Issue nothing from the next cycle on, stay.
    step : Out(window_step_layout)
        What is issued in this cycle; the rest means nothing without `valid`.
    """

    def __init__(self, isa: InstructionSet):
        self._config = isa.config
        self._layout = command_layout(isa)
        self._idle = Signal(name="idle")  # takes over whatever stands at `command`, long before `load` says so
        super().__init__(
            {
                "load": In(1),
                "command": In(self._layout),
                "active": In(self._layout),
                "halt": In(1),
                "step": Out(window_step_layout(isa.config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        busy, issue, halted = Signal(), Signal(), Signal()
        row_ends, block_ends, last_block = Signal(), Signal(), Signal(reset_less=True)
        wraps, blocks = Signal(), Signal()
        waits = self._elaborate_wait(m, issue, row_ends, wraps)
        m.d.sync += halted.eq(self.halt)  # the scratchpad is read by what is issued: that cannot begin far away
        m.d.comb += [
            issue.eq(busy & ~halted),
            wraps.eq(issue & row_ends & ~waits),
            blocks.eq(wraps & block_ends),
        ]
        m.d.comb += self._idle.eq(~busy)
        with m.If(self.load):
            m.d.sync += busy.eq(1)
        with m.Elif(issue & row_ends & block_ends & last_block):
            m.d.sync += busy.eq(0)

        goes = issue & ~(row_ends & waits)
        is_column, last_column = self._elaborate_direction(m, "out2", "red2", "double_x", goes, row_ends)
        is_row, last_row = self._elaborate_direction(m, "out1", "red1", "double_y", wraps, block_ends)
        self._elaborate_blocks(m, last_block, blocks)
        self._elaborate_addresses(m, goes, wraps, blocks, row_ends, block_ends)
        m.d.comb += [
            row_ends.eq(is_column & last_column),
            block_ends.eq(is_row & last_row),
            self.step.complete.eq(self.step.valid & is_column & is_row),
        ]
        return m

    def _elaborate_wait(self, m: Module, issue: Value, row_ends: Value, wraps: Value) -> Value:
        """Issue pixels; return whether the next row must wait for the line buffer, having only a few of them."""
        most = depthwise_row_cycles(self._config, 1) - 1
        if not most:
            m.d.comb += self.step.valid.eq(issue)
            return Value.cast(0)
        left, is_read = Signal(range(most + 1), reset_less=True), Signal(reset_less=True)
        waits = Signal(reset_less=True)  # `left` is not 0
        with m.If(self._idle | wraps):
            m.d.sync += [left.eq(most), waits.eq(1), is_read.eq(0)]
        with m.Elif(issue):
            m.d.sync += [left.eq(Mux(waits, left - 1, 0)), waits.eq(left > 1), is_read.eq(row_ends)]
        m.d.comb += self.step.valid.eq(issue & ~is_read)
        return waits

    def _elaborate_direction(
        self, m: Module, loop: str, kernel: str, double: str, goes: Value, restarts: Value
    ) -> tuple[Value, Value]:
        """Count pixels up to the next window's end; return whether one ends here, and whether that is the last.

        `goes` comes late: it only enables the registers, and `restarts` says what they take then.
        """
        place = LOOPS.index(loop)
        most = max(self._config.window_rows, self._config.window_columns)
        lead = Signal(range(max(most, 2) + 1), name=f"lead_{loop}", reset_less=True)
        left = Signal.like(Value.cast(self.active[f"extent_{loop}"]), name=f"left_{loop}", reset_less=True)
        last = Signal(name=f"last_{loop}", reset_less=True)
        ends_here = Signal(name=f"ends_{loop}", reset_less=True)  # `lead` is 1

        def begin(command: data.View) -> list:
            return [
                lead.eq(command[f"extent_{kernel}"]),
                ends_here.eq(command[f"extent_{kernel}"] == 1),
                left.eq(command[f"extent_{loop}"]),
                last.eq(command.single[place]),
            ]

        with m.If(self._idle | goes):
            with m.If(self._idle):
                m.d.sync += begin(self.command)
            with m.Elif(restarts):
                m.d.sync += begin(self.active)
            with m.Elif(ends_here):
                m.d.sync += [lead.eq(Mux(self.active[double], 2, 1)), ends_here.eq(~self.active[double])]
                m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            with m.Else():
                m.d.sync += [lead.eq(lead - 1), ends_here.eq(lead == 2)]
        return ends_here, last

    def _elaborate_blocks(self, m: Module, last: Signal, blocks: Value) -> None:
        left = Signal.like(Value.cast(self.active.extent_out0), name="left_out0", reset_less=True)
        with m.If(self._idle):
            m.d.sync += [left.eq(self.command.extent_out0), last.eq(self.command.single[0])]
        with m.Elif(blocks):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]

    def _elaborate_addresses(
        self, m: Module, goes: Value, wraps: Value, blocks: Value, row_ends: Value, block_ends: Value
    ) -> None:
        """Keep where block, row and pixel begin; one adder makes the next address of the one that advances."""
        bits = self.step.a.shape().width
        pixel, row, block = (Signal(bits, name=f"{name}_start", reset_less=True) for name in ("pixel", "row", "block"))
        column = Signal(self.step.column.shape(), reset_less=True)
        pixel_stride, row_stride, block_stride = (self.active[f"a_{name}"][:bits] for name in ("pixel", "row", "out0"))
        start = Mux(row_ends, Mux(block_ends, block, row), pixel)
        stride = Mux(row_ends, Mux(block_ends, block_stride, row_stride), pixel_stride)
        following = Signal(bits)
        m.d.comb += [following.eq(start + stride), self.step.a.eq(pixel), self.step.column.eq(column)]
        for register, advances in ((pixel, goes), (row, wraps), (block, blocks)):
            with m.If(self._idle):
                m.d.sync += register.eq(self.command.a_base)
            with m.Elif(advances):
                m.d.sync += register.eq(following)
        with m.If(self._idle | goes):
            m.d.sync += column.eq(Mux(self._idle | row_ends, 0, column + 1))
