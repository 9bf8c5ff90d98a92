"""What the array multiplies where it has the depthwise mode: windows of one pixel a cycle, or what lanes share."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.layouts import window_step_layout
from tilewright.hw.line_buffer import LineBuffer
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.timing import MEMORY_READ_CYCLES, compute_timing
from tilewright.isa.config import Config


class WindowBuffer(wiring.Component):
    """Line buffer and operand registers, which are windows or what a row's lanes have in common.

    Nothing stands between these registers and the multipliers. Cycles are counted from the read of a pixel, or from the
    issue of a step of another instruction.

    Every pixel completes a column of `window_rows` pixels, which shifts into the window from the right. Where a
    smaller kernel has no taps, zeros shift in. Pixels of earlier rows or blocks may be in the window before it is
    complete, which nobody looks at.

    Parameters
    ----------
    config : Config

    Members
    -------
    step : In(window_step_layout)
        Cycle 0.
    kernel_rows, kernel_columns : In
        Extents of the kernel of the step's instruction.
    pixel : In(8 * lanes)
        The pixel, batch-major, at `timing.operands`.
    shares : In(1)
        Cycle 0 of a step whose lanes have operands in common; never a cycle after `step`.
    common : In(block_in int8).array(batch)
        Those operands, a cycle before `timing.operands`.
    operands : Out(block_in int8).array(lanes)
        Windows that end with the pixel, row-major, `WINDOW_CYCLES` after it; `common`, at `timing.operands`.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "step": In(window_step_layout(config)),
                "kernel_rows": In(range(config.window_rows + 1)),
                "kernel_columns": In(range(config.window_columns + 1)),
                "pixel": In(8 * config.acc_lanes),
                "shares": In(1),
                "common": In(data.ArrayLayout(8, config.gemm.block_in)).array(config.gemm.batch),
                "operands": Out(data.ArrayLayout(8, config.gemm.block_in)).array(config.acc_lanes),
            }
        )
        self.lines = LineBuffer(config) if config.window_rows > 1 else None

    def elaborate(self, platform):
        m = Module()
        rows, columns = self._config.window_rows, self._config.window_columns
        arrival = compute_timing(self._config).operands
        m.submodules.pipe = pipe = ControlPipe()
        pipe.add("valid", self.step.valid, resettable=True)
        pipe.add("column", self.step.column)
        pipe.add("in_rows", Cat(self.kernel_rows >= rows - r for r in range(rows)))
        pipe.add("in_columns", Cat(self.kernel_columns >= columns - c for c in range(columns)))

        older = self._elaborate_lines(m, pipe, arrival, self.lines) if self.lines is not None else []
        in_rows, in_columns = pipe.at("in_rows", arrival), pipe.at("in_columns", arrival)
        pipe.add("takes", self.shares | pipe.at("valid", 1), resettable=True)
        takes, shifts = pipe.at("takes", arrival - 1), pipe.at("valid", arrival)
        outside = self._elaborate_outside(m, takes, shifts)
        for lane, output in enumerate(self.operands):
            row = lane // self._config.gemm.block_out
            window = []
            for r, line in enumerate([*older, self.pixel]):
                taps = Signal(8 * columns, name=f"window{lane}_{r}", reset_less=True)
                kept = [Mux(in_columns[c], taps.word_select(c + 1, 8), 0) for c in range(columns - 1)]
                shifted = Cat(*kept, Mux(in_rows[r], line.word_select(lane, 8), 0))
                with m.If(takes):
                    m.d.sync += taps.eq(Mux(shifts, shifted, self.common[row].as_value().word_select(r, 8 * columns)))
                window.append(taps)
            m.d.comb += output.as_value().eq(Cat(*window, outside[row]))
        return m

    def _elaborate_outside(self, m: Module, takes: Value, shifts: Value) -> list[Signal]:
        """Keep, for each batch row, the operands that lanes always have in common: with windows they are 0."""
        place = 8 * self._config.window_rows * self._config.window_columns
        registers = []
        for row, common in enumerate(self.common):
            values = common.as_value()[place:]
            register = Signal(len(values), name=f"outside{row}", reset_less=True)
            with m.If(takes):
                m.d.sync += register.eq(Mux(shifts, 0, values))
            registers.append(register)
        return registers

    def _elaborate_lines(self, m: Module, pipe: ControlPipe, arrival: int, lines: LineBuffer) -> list[Value]:
        """Read the rows above the pixel; write them back a row older, the pixel with them."""
        m.submodules.lines = lines
        read = arrival - MEMORY_READ_CYCLES
        m.d.comb += [
            lines.column.eq(pipe.at("column", read)),
            lines.en.eq(pipe.at("valid", read)),
            lines.write_column.eq(pipe.at("column", arrival)),
            lines.write_en.eq(pipe.at("valid", arrival)),
        ]
        younger = [*lines.rows[1:], self.pixel]
        m.d.comb += [port.eq(row) for port, row in zip(lines.write_rows, younger, strict=True)]
        return list(lines.rows)
