"""Gives each instruction to the queue of its engine."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tilewright.hw.fetch import FetchedLayout
from tilewright.hw.head_queue import HeadQueue
from tilewright.hw.layouts import engine_word_bits
from tilewright.isa.instructions import Engine, InstructionSet


class Dispatch(wiring.Component):
    """The instruction queues; an instruction is at the head of its empty queue one cycle after it was offered.

    Parameters
    ----------
    isa : InstructionSet

    Members
    -------
    instruction : In(stream of FetchedLayout)
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
                "instruction": In(stream.Signature(FetchedLayout(isa))),
                **queues,
                "illegal": Out(1),
                "blocked": Out(1),
                "empty": Out(1),
            }
        )
        self._isa = isa

    def elaborate(self, platform):
        m = Module()
        word, engines = self.instruction.payload.word, self.instruction.payload.engines
        queues = [self._queue(m, engine, word) for engine in Engine]
        m.d.comb += [
            *(queue.input.valid.eq(self.instruction.valid & engines[i]) for i, queue in enumerate(queues)),
            self.instruction.ready.eq(Cat(engines[i] & queue.input.ready for i, queue in enumerate(queues)).any()),
            self.illegal.eq(self.instruction.valid & ~engines.any()),
            self.blocked.eq(self.instruction.valid & engines.any() & ~self.instruction.ready),
            self.empty.eq(~Cat(queue.output.valid for queue in queues).any()),
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
