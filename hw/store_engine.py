"""The store engine: from the activation scratchpad into DRAM."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.box_bursts import BoxBursts
from tilewright.hw.boxes import act_space, decode_boxes
from tilewright.hw.burst_generator import BurstLayout
from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.layouts import engine_word_bits, extract_field
from tilewright.hw.signatures import ActStoreSignature, TokenSignature
from tilewright.hw.store_reader import StoreReader
from tilewright.hw.timing import DMA_BOX_QUEUE, DMA_IN_FLIGHT
from tilewright.hw.write_port import WriteBeatLayout
from tilewright.isa.instructions import Engine, InstructionSet, Opcode


class StoreEngine(wiring.Component):
    """Two halves work an instruction independently: one sends bursts, the other (`StoreReader`) data.

    The next instruction starts when the bursts of the last one are cut; its reads overlap the responses outstanding.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    instruction : In(stream of words)
        Opcodes are legal.
    tokens : Out(TokenSignature)
    rows : Out(ActStoreSignature)
    burst : Out(stream of BurstLayout)
    beat : Out(stream of WriteBeatLayout)
    written : In(1)
        High for a cycle when all responses of the oldest instruction are in.
    start : Out(1)
        An instruction starts.
    busy : Out(1)
        Instructions have started and not finished.
    """

    def __init__(self, isa: InstructionSet):
        config = isa.config
        super().__init__(
            {
                "instruction": In(stream.Signature(engine_word_bits(isa, Engine.STORE))),
                "tokens": Out(TokenSignature()),
                "rows": Out(ActStoreSignature(config)),
                "burst": Out(stream.Signature(BurstLayout(config))),
                "beat": Out(stream.Signature(WriteBeatLayout(config))),
                "written": In(1),
                "start": Out(1),
                "busy": Out(1),
            }
        )
        self._isa = isa

    def elaborate(self, platform):
        m = Module()
        config = self._isa.config
        spaces = (act_space(config, Opcode.STORE_ACT),)
        instructions = self._isa.of_engine(Engine.STORE)
        m.submodules.bursts = bursts = BoxBursts(config, spaces)
        m.submodules.reader = reader = StoreReader(config)
        connect(m, bursts.burst, flipped(self.burst))
        connect(m, reader.rows, flipped(self.rows))
        connect(m, reader.beat, flipped(self.beat))

        word = self.instruction.payload
        dram_box, entry_box = decode_boxes(m, word, config, instructions, spaces)
        m.submodules.boxes = boxes = HeadQueue(entry_box.shape(), DMA_BOX_QUEUE)
        connect(m, boxes.output, reader.box)
        m.submodules.signals = signals = HeadQueue(2, DMA_IN_FLIGHT)
        m.d.comb += [
            boxes.input.payload.eq(entry_box),
            boxes.input.valid.eq(self.start),
            bursts.box.payload.eq(dram_box),
            bursts.box.valid.eq(self.start),
            signals.input.payload.eq(entry_box.signal),
            signals.input.valid.eq(self.start),
            signals.output.ready.eq(self.written),
        ]

        m.d.comb += [
            self.tokens.wait_mask.eq(extract_field(word, instructions[0], "wait")),
            self.tokens.wait_request.eq(
                self.instruction.valid & bursts.box.ready & boxes.input.ready & signals.input.ready
            ),
            self.tokens.signal_mask.eq(signals.output.payload),
            self.tokens.signal_valid.eq(self.written),
            self.start.eq(self.tokens.wait_request & self.tokens.wait_grant),
            self.instruction.ready.eq(self.start),
            self.busy.eq(signals.output.valid),
        ]
        return m
