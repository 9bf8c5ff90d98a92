"""The load engine: from DRAM into the scratchpads."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.box_bursts import BoxBursts
from tilewright.hw.boxes import decode_boxes, load_spaces
from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.layouts import engine_word_bits, extract_field
from tilewright.hw.load_writer import LoadWriter, entry_ports, write_ports
from tilewright.hw.signatures import TokenSignature
from tilewright.hw.timing import DMA_BOX_QUEUE, DMA_IN_FLIGHT
from tilewright.isa.instructions import Engine, InstructionSet


class LoadEngine(wiring.Component):
    """Front: takes an instruction with its tokens and asks for bursts. Back (`LoadWriter`): writes what arrives.

    The two are coupled by a queue of boxes alone, so that the front works ahead by `timing.DMA_BOX_QUEUE` instructions.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    instruction : In(stream of words)
        Opcodes are legal.
    tokens : Out(TokenSignature)
    burst : Out(stream of BurstLayout)
        Never empty ones.
    beat : In(stream of data)
    act, wgt, prm, tbl
        The scratchpads' write ports; `tbl` only where there are tables.
    start : Out(1)
        An instruction starts.
    busy : Out(1)
        Instructions have started and not finished.
    """

    def __init__(self, isa: InstructionSet):
        config = isa.config
        super().__init__(
            {
                "instruction": In(stream.Signature(engine_word_bits(isa, Engine.LOAD))),
                "tokens": Out(TokenSignature()),
                "burst": Out(stream.Signature(BurstLayout(config))),
                "beat": In(stream.Signature(config.bus.data_bits)),
                **write_ports(config),
                "start": Out(1),
                "busy": Out(1),
            }
        )
        self._isa = isa

    def elaborate(self, platform):
        m = Module()
        config = self._isa.config
        spaces = load_spaces(config)
        instructions = self._isa.of_engine(Engine.LOAD)
        m.submodules.bursts = bursts = BoxBursts(config, spaces)
        m.submodules.writer = writer = LoadWriter(config)
        connect(m, bursts.burst, flipped(self.burst))
        connect(m, flipped(self.beat), writer.beat)
        for inner, outer in zip(writer.act, self.act, strict=True):
            connect(m, inner, flipped(outer))
        for name in entry_ports(config):
            connect(m, getattr(writer, name), flipped(getattr(self, name)))

        word = self.instruction.payload
        dram_box, entry_box = decode_boxes(m, word, config, instructions, spaces)
        m.submodules.boxes = boxes = HeadQueue(entry_box.shape(), DMA_BOX_QUEUE)
        connect(m, boxes.output, writer.box)
        m.d.comb += [
            boxes.input.payload.eq(entry_box),
            boxes.input.valid.eq(self.start),
            bursts.box.payload.eq(dram_box),
            bursts.box.valid.eq(self.start & ~dram_box.empty),
        ]

        in_flight = Signal(range(DMA_IN_FLIGHT + 1))
        is_full, has_room = Signal(), Signal()
        m.d.comb += [
            self.tokens.wait_mask.eq(extract_field(word, instructions[0], "wait")),
            has_room.eq(bursts.box.ready & boxes.input.ready & ~is_full),
            self.tokens.wait_request.eq(self.instruction.valid & has_room),
            self.tokens.signal_mask.eq(writer.signal),
            self.tokens.signal_valid.eq(writer.finish),
            self.start.eq(self.tokens.wait_request & self.tokens.wait_grant),
            self.instruction.ready.eq(self.start),
            self.busy.eq(in_flight != 0),
        ]
        with m.If(self.start ^ writer.finish):  # `start` comes late: it only enables the registers
            m.d.sync += [
                in_flight.eq(in_flight + Mux(writer.finish, -1, 1)),
                is_full.eq(~writer.finish & (in_flight == DMA_IN_FLIGHT - 1)),
            ]
        return m
