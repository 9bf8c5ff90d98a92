"""Gives each instruction to the queue of its engine."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.layouts import engine_word_bits
from tilewright.isa.instructions import OPCODE_BITS, Engine, InstructionSet


class Dispatch(wiring.Component):
    """The instruction queues; an instruction is at the head of its empty queue one cycle after it was offered.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    instruction : In(stream of words)
    load, compute, store : Out(stream of words)
        As wide as the engine's widest instruction.
    illegal : Out(1)
        The instruction offered has an opcode that is not in the table; it is not taken.
    blocked : Out(1)
        The instruction offered waits for room.
    empty : Out(1)
        All queues are empty.
    """

    def __init__(self, isa: InstructionSet):
        queues = {str(e): Out(stream.Signature(engine_word_bits(isa, e))) for e in Engine}
        super().__init__(
            {
                "instruction": In(stream.Signature(8 * isa.instruction_bytes)),
                **queues,
                "illegal": Out(1),
                "blocked": Out(1),
                "empty": Out(1),
            }
        )
        self._isa = isa

    def elaborate(self, platform):
        m = Module()
        word = self.instruction.payload
        illegal = Signal()
        queues = {engine: self._queue(m, engine, word) for engine in Engine}
        with m.Switch(word[:OPCODE_BITS]):
            for engine, queue in queues.items():
                with m.Case(*(int(i.opcode) for i in self._isa.of_engine(engine))):
                    m.d.comb += [
                        queue.input.valid.eq(self.instruction.valid),
                        self.instruction.ready.eq(queue.input.ready),
                    ]
            with m.Default():
                m.d.comb += illegal.eq(1)
        m.d.comb += [
            self.illegal.eq(self.instruction.valid & illegal),
            self.blocked.eq(self.instruction.valid & ~illegal & ~self.instruction.ready),
            self.empty.eq(~Cat(queue.output.valid for queue in queues.values()).any()),
        ]
        return m

    def _queue(self, m, engine: Engine, word) -> HeadQueue:
        """Add the queue of `engine` and connect all but what says that a word enters."""
        output = getattr(self, engine)
        queue = HeadQueue(len(output.payload), getattr(self._isa.config.queue, engine))
        m.submodules[f"{engine}_queue"] = queue
        m.d.comb += queue.input.payload.eq(word)
        connect(m, queue.output, flipped(output))
        return queue
