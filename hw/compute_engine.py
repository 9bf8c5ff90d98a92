"""The compute engine: GEMM, VECTOR, DEPTHWISE and ROW instructions, from the queue's head to the tokens they give."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.accumulator_scratchpad import AccumulatorScratchpad
from tilewright.hw.compute_decoder import ComputeDecoder
from tilewright.hw.epilogue import Epilogue
from tilewright.hw.gemm_core import GemmCore
from tilewright.hw.layouts import engine_word_bits, member
from tilewright.hw.parameter_memory import ParameterMemory
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.row_unit import RowUnit
from tilewright.hw.sequencer import Sequencer
from tilewright.hw.signatures import (
    ActReadSignature,
    ActWriteSignature,
    TokenSignature,
    prm_write_signature,
    tbl_write_signature,
    wgt_write_signature,
)
from tilewright.hw.timing import MEMORY_READ_CYCLES, WINDOW_CYCLES, compute_timing, row_delay_cycles
from tilewright.hw.vector_alu import VECTOR_DATAPATH, Combine, VectorAlu, uses_b
from tilewright.hw.weight_scratchpad import WeightScratchpad
from tilewright.hw.window_buffer import WindowBuffer
from tilewright.hw.window_sequencer import WindowSequencer
from tilewright.isa.instructions import Engine, InstructionSet


class ComputeEngine(wiring.Component):
    """Decoder, sequencer, operand memories, array, vector unit and epilogue: a pipeline that never stalls.

    Parameters
    ----------
    isa : InstructionSet
    datapath : mapping of str to Combine
        The hardware of each vector operation.

    Members
    -------
    instruction : In(stream of raw words)
        Taken when the instruction starts.
    tokens : Out(TokenSignature)
        `signal_valid` is the finish strobe, too.
    act_a, act_b : Out(ActReadSignature)
    act_d : Out(ActWriteSignature)
    wgt_write, prm_write, tbl_write : In(EntryWriteSignature)
        The load engine's writes; `tbl_write` only with tables.
    start : Out(1)
        An instruction starts.
    busy : Out(1)
        Something is in flight, or being decoded.
    step : Out(1)
        A step is issued, or a pixel of a depthwise instruction.
    gemm_step : Out(1)
        It is GEMM's.
    fence_wait : Out(1)
        The next instruction waits for its fence and nothing else before it asks for its tokens.
    illegal : Out(1)
        An unknown operation, a row operation whose operands do not go together, or a depthwise instruction too large
        for the window, was started; stays until reset, and nothing starts after it.
    halt : In(1)
        Issue nothing new.

    Raises
    ------
    ConfigError
        For a vector operation that the datapath lacks.
    """

    def __init__(self, isa: InstructionSet, datapath: Mapping[str, Combine] = VECTOR_DATAPATH):
        self._isa = isa
        self._config = config = isa.config
        ports = {
            "instruction": In(stream.Signature(engine_word_bits(isa, Engine.COMPUTE))),
            "tokens": Out(TokenSignature()),
            "act_a": Out(ActReadSignature(config)),
            "act_b": Out(ActReadSignature(config)),
            "act_d": Out(ActWriteSignature(config)),
            "wgt_write": In(wgt_write_signature(config)),
            "prm_write": In(prm_write_signature(config)),
            "start": Out(1),
            "busy": Out(1),
            "step": Out(1),
            "gemm_step": Out(1),
            "fence_wait": Out(1),
            "illegal": Out(1),
            "halt": In(1),
        }
        if config.epilogue.tables:
            ports["tbl_write"] = In(tbl_write_signature(config))
        super().__init__(ports)
        self.vector_alu = VectorAlu(isa, datapath)
        self.decoder = ComputeDecoder(isa)
        self.sequencer = Sequencer(isa)
        self.weights = WeightScratchpad(config)
        self.parameters = ParameterMemory(config)
        self.accumulators = AccumulatorScratchpad(config)
        self.gemm_core = GemmCore(config)
        self.epilogue = Epilogue(isa)
        self._has_depthwise = config.depthwise.enabled
        self._has_rows = config.vector.rows
        if self._has_rows:
            self.row_unit = RowUnit(isa)
        if self._has_depthwise:
            self.window_sequencer = WindowSequencer(isa)
            self.window_buffer = WindowBuffer(config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = self.decoder
        m.submodules.sequencer = self.sequencer
        m.submodules.weights = self.weights
        m.submodules.parameters = self.parameters
        m.submodules.accumulators = self.accumulators
        m.submodules.gemm_core = self.gemm_core
        m.submodules.vector_alu = self.vector_alu
        m.submodules.epilogue = self.epilogue

        wiring.connect(m, wiring.flipped(self.instruction), self.decoder.instruction)
        wiring.connect(m, wiring.flipped(self.wgt_write), self.weights.write)
        wiring.connect(m, wiring.flipped(self.prm_write), self.parameters.write)
        if self._config.epilogue.tables:
            wiring.connect(m, wiring.flipped(self.tbl_write), self.epilogue.tbl_write)
        wiring.connect(m, self.epilogue.addend, self.accumulators.addend)
        wiring.connect(m, self.epilogue.acc, self.accumulators.write)
        wiring.connect(m, self.epilogue.bias, self.parameters.bias)
        wiring.connect(m, self.epilogue.scale, self.parameters.scale)
        wiring.connect(m, self.epilogue.act, wiring.flipped(self.act_d))

        self._elaborate_start(m)
        self._elaborate_operands(m)
        if self._has_depthwise:
            self._elaborate_windows(m)
        if self._has_rows:
            self._elaborate_rows(m)
        return m

    def _elaborate_start(self, m: Module) -> None:
        """Start the next instruction when the sequencer is free, its fence has passed and its tokens are there."""
        command, sequencer = self.decoder.command, self.sequencer
        most_in_flight = compute_timing(self._config).latency + 2
        in_flight = Signal(range(most_in_flight + 1))
        ready, fenced, any_in_flight = Signal(), Signal(), Signal()
        m.d.comb += [
            ready.eq(self.decoder.valid & sequencer.free & ~self.illegal),
            fenced.eq(command.fence & any_in_flight),
            self.fence_wait.eq(ready & fenced),
            self.tokens.wait_mask.eq(command.wait),
            self.tokens.wait_request.eq(ready & ~fenced),
            self.start.eq(self.tokens.wait_request & self.tokens.wait_grant),
            self.decoder.take.eq(self.start),
            sequencer.load.eq(self.start & command.legal),
            sequencer.command.eq(command),
            sequencer.halt.eq(self.halt),
            self.tokens.signal_valid.eq(self.epilogue.finish),
            self.tokens.signal_mask.eq(self.epilogue.finish_signal),
            self.busy.eq(any_in_flight | (self.instruction.valid & ~self.decoder.valid)),
        ]
        finish = self.epilogue.finish
        with m.If(sequencer.load ^ finish):  # `load` comes late: it only enables the registers
            m.d.sync += [
                in_flight.eq(in_flight + Mux(finish, -1, 1)),
                any_in_flight.eq(~finish | (in_flight != 1)),
            ]
        with m.If(self.start & ~command.legal):
            m.d.sync += self.illegal.eq(1)

    def _elaborate_operands(self, m: Module) -> None:
        """Read the operands of each step and hand them to the array or the vector unit, both to the epilogue."""
        config, step, active = self._config, self.sequencer.step, self.sequencer.active
        timing = compute_timing(config)
        is_wide = config.gemm.block_out == config.lanes
        takes_acc = active.vector & active.from_acc
        is_array = ~(active.vector | member(active, "row"))
        is_depthwise = member(active, "depthwise")
        command, takes_b = self.sequencer.command, Signal(reset_less=True)
        with m.If(self.sequencer.load):
            codes = [op.code for op in self._isa.vector_ops if uses_b(op)]
            m.d.sync += takes_b.eq(command.vector & Cat(command.op == code for code in codes).any())
        blends = member(active, "residual") & step.last
        m.d.comb += [
            self.step.eq(step.valid),
            self.gemm_step.eq(step.valid & is_array & ~is_depthwise),
            self.act_a.addr.eq(step.a),
            self.act_a.en.eq(step.valid & ~takes_acc),
            self.act_a.wide.eq((~is_array & is_wide) | (is_array & (config.gemm.block_in == config.lanes))),
            self.act_b.addr.eq(step.b),
            self.act_b.en.eq(step.valid & (blends | takes_b)),
            self.act_b.wide.eq(is_wide),
            self.epilogue.step.eq(step),
            self.epilogue.command.eq(active),
        ]

        m.submodules.operand_pipe = self._operand_pipe = pipe = ControlPipe()
        pipe.add("uses_array", step.valid & is_array, resettable=True)
        pipe.add("is_vector", step.valid & active.vector, resettable=True)
        pipe.add("takes_acc", step.valid & takes_acc, resettable=True)
        for name in ("first", "a", "w"):
            pipe.add(name, step[name])
        for name in ("op", "from_acc", "zero_a", "zero_b"):
            pipe.add(name, member(active, name))

        read = timing.operands - MEMORY_READ_CYCLES
        gemm, vector = self.gemm_core, self.vector_alu
        m.d.comb += [
            self.weights.read.addr.eq(pipe.at("w", read)),
            self.weights.read.en.eq(pipe.at("uses_array", read)),
            self.accumulators.operand.addr.eq(pipe.at("a", read)),
            self.accumulators.operand.en.eq(pipe.at("takes_acc", read)),
            gemm.valid.eq(pipe.at("uses_array", timing.operands)),
            gemm.first.eq(pipe.at("first", timing.operands)),
            vector.valid.eq(pipe.at("is_vector", timing.operands)),
        ]
        for name in ("first", "op", "from_acc", "zero_a", "zero_b"):
            m.d.comb += getattr(vector, name).eq(pipe.at(name, timing.operands))
        if not self._has_depthwise:
            m.d.comb += [gemm.a[row].eq(self._operand(self.act_a.data, row)) for row in range(config.gemm.batch)]
        for channel in range(config.gemm.block_out):
            m.d.comb += gemm.w[channel].eq(self.weights.read.rows[channel])
        for lane in range(config.acc_lanes):
            row, channel = divmod(lane, config.gemm.block_out)
            b = self._channel(self.act_b.data, row, channel)
            m.d.comb += [
                vector.a_act[lane].eq(self._channel(self.act_a.data, row, channel)),
                vector.b[lane].eq(b),
                vector.a_acc[lane].eq(self.accumulators.operand.lanes[lane]),
                self.epilogue.b[lane].eq(b),
                self.epilogue.gemm[lane].eq(gemm.x[lane]),
                self.epilogue.vector[lane].eq(vector.x[lane]),
            ]

    def _elaborate_rows(self, m: Module) -> None:
        """Hand operands to the row unit, and its steps, delayed by as much as its results are, to the epilogue."""
        config, step, active, unit = self._config, self.sequencer.step, self.sequencer.active, self.row_unit
        timing, pipe = compute_timing(config), self._operand_pipe
        m.submodules.row_unit = unit
        pipe.add("is_row", step.valid & active.row, resettable=True)
        pipe.add("b", step.b)
        for name in ("last", "end"):
            pipe.add(name, step[name])
        for name in ("tail", "scale", "offset"):
            pipe.add(name, active[name])
        read = timing.operands - MEMORY_READ_CYCLES
        with m.If(pipe.at("is_row", read)):
            m.d.comb += [
                self.accumulators.operand.addr.eq(pipe.at("b", read)),
                self.accumulators.operand.en.eq(1),
            ]
        m.d.comb += unit.valid.eq(pipe.at("is_row", timing.operands))
        for name in ("first", "last", "op", "tail", "scale", "offset"):
            m.d.comb += getattr(unit, name).eq(pipe.at(name, timing.operands))
        for lane in range(config.acc_lanes):
            row, channel = divmod(lane, config.gemm.block_out)
            m.d.comb += [
                unit.a[lane].eq(self._channel(self.act_a.data, row, channel)),
                self.epilogue.row[lane].eq(unit.x[lane]),
            ]
            if channel == 0:
                m.d.comb += unit.b[row].eq(self.accumulators.operand.lanes[lane])

        self._elaborate_row_steps(m)

    def _elaborate_row_steps(self, m: Module) -> None:
        """Let the epilogue see each step of a row operation when its result is ready: later, by its operation."""
        step, active = self.sequencer.step, self.sequencer.active
        m.submodules.row_step_pipe = pipe = ControlPipe()
        pipe.add("step", step)
        with m.If(active.row):
            m.d.comb += [self.epilogue.step.valid.eq(0), self.epilogue.step.end.eq(0)]
        for op in self._isa.row_ops:
            delay, is_active = row_delay_cycles(self._config, op), active.row & (active.op == op.code)
            issues = Cat(step.valid, step.end) & is_active.replicate(2)
            pipe.add(op.name, issues, resettable=True)
            with m.If(is_active):
                m.d.comb += self.epilogue.step.eq(data.View(step.shape(), pipe.at("step", delay)))
                m.d.comb += Cat(self.epilogue.step.valid, self.epilogue.step.end).eq(pipe.at(op.name, delay))

    def _elaborate_windows(self, m: Module) -> None:
        """Read depthwise pixels through operand a's port; each complete window lets the sequencer issue a step."""
        command, sequencer, walker, buffer = (
            self.decoder.command, self.sequencer, self.window_sequencer, self.window_buffer,
        )  # fmt: skip
        m.submodules.window_sequencer = walker
        m.submodules.window_buffer = buffer
        m.submodules.window_pipe = pipe = ControlPipe()
        pipe.add("complete", walker.step.complete, resettable=True)
        m.d.comb += [
            walker.load.eq(sequencer.load & command.depthwise & ~command.empty),
            walker.command.eq(command),
            walker.active.eq(sequencer.active),
            walker.halt.eq(self.halt),
            sequencer.window_completes.eq(pipe.at("complete", WINDOW_CYCLES - 1)),
            buffer.step.eq(walker.step),
            buffer.kernel_rows.eq(sequencer.active.extent_red1),
            buffer.kernel_columns.eq(sequencer.active.extent_red2),
            buffer.shares.eq(self.gemm_step),
        ]
        lanes = (divmod(lane, self._config.gemm.block_out) for lane in range(self._config.acc_lanes))
        m.d.comb += buffer.pixel.eq(Cat(self._channel(self.act_a.data, row, channel) for row, channel in lanes))
        for row, common in enumerate(buffer.common):
            m.d.comb += common.eq(self._operand(self.act_a.early, row))
        for taken, operand in zip(self.gemm_core.a, buffer.operands, strict=True):
            m.d.comb += taken.eq(operand)
        with m.If(sequencer.active.depthwise):
            m.d.comb += [
                self.step.eq(walker.step.valid),
                self.act_a.addr.eq(walker.step.a),
                self.act_a.en.eq(walker.step.valid),
                self.act_a.wide.eq(self._config.gemm.block_out == self._config.lanes),
            ]

    def _operand(self, row, batch_row: int) -> Value:
        """Return what all lanes of a batch row multiply."""
        return Cat(self._channel(row, batch_row, channel) for channel in range(self._config.gemm.block_in))

    def _channel(self, row, batch_row: int, channel: int) -> Value:
        """Return a channel of an access that starts with the first atom of `row`."""
        atom, lane = divmod(channel, self._config.atom)
        return row[atom].word_select(batch_row * self._config.atom + lane, 8)
