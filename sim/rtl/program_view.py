"""What the RTL simulator needs to know of a program: whose queue each instruction goes to, and its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tilewright.isa.instructions import OPCODE_BITS, Engine, Instruction, InstructionSet
from tilewright.sim.rtl.library import Strobes

_HEADER_BYTES = 2  # opcode, wait and signal


@dataclass(frozen=True)
class ProgramView:
    """The headers of a program's instructions.

    Attributes
    ----------
    isa : InstructionSet
    words : array of int64, shape (count,)
        The first two bytes of each instruction.
    """

    isa: InstructionSet
    words: npt.NDArray[np.int64]

    @classmethod
    def of(cls, isa: InstructionSet, dram: npt.NDArray[np.uint8], offset: int, count: int) -> ProgramView:
        """Look at `count` instructions at byte `offset`."""
        size = isa.instruction_bytes
        rows = dram[offset : offset + count * size].reshape(count, size)[:, :_HEADER_BYTES]
        return cls(isa, rows.astype(np.int64) @ (1 << (8 * np.arange(_HEADER_BYTES))))

    @property
    def opcodes(self) -> npt.NDArray[np.int64]:
        """The opcode of each instruction, legal or not."""
        return self.words & ((1 << OPCODE_BITS) - 1)

    @cached_property
    def queues(self) -> Mapping[Engine, npt.NDArray[np.int64]]:
        """For each engine, the stream positions of its instructions, in order."""
        opcodes = self.opcodes
        return {
            engine: np.flatnonzero(np.isin(opcodes, [int(i.opcode) for i in self.isa.of_engine(engine)]))
            for engine in Engine
        }

    @property
    def first_illegal(self) -> int | None:
        """Stream position of the first instruction that the table does not know, if any."""
        unknown = np.flatnonzero(~np.isin(self.opcodes, list(self.isa.by_opcode)))
        return int(unknown[0]) if len(unknown) else None

    def name(self, position: int) -> str:
        """Return mnemonic and position, for people: `GEMM #7`."""
        instruction = self.isa.by_opcode.get(int(self.opcodes[position]))
        return f"{instruction.name if instruction else f'opcode {int(self.opcodes[position])}'} #{position}"

    def _tokens(self, position: int, field: str) -> tuple[Engine, ...]:
        instruction = self.isa.by_opcode[int(self.opcodes[position])]
        bits = int(self.words[position]) >> _shift(instruction, field)
        return tuple(engine for i, engine in enumerate(instruction.engine.others) if bits >> i & 1)

    def explain(self, strobes: Strobes) -> str:
        """Say what each engine that is not finished does, from what has started and finished so far."""
        sentences = [self._explain_engine(engine, strobes) for engine in Engine]
        return "; ".join(s for s in sentences if s) or "every instruction has finished"

    def _explain_engine(self, engine: Engine, strobes: Strobes) -> str:
        queue = self.queues[engine]
        started, finished = len(strobes.start[engine]), len(strobes.finish[engine])
        if finished >= len(queue):
            return ""
        progress = f"{engine} has finished {finished} of {len(queue)} instructions"
        if started > finished:
            return f"{progress} and works on {self.name(int(queue[finished]))}"
        position = int(queue[started])
        missing = [other for other in self._tokens(position, "wait") if self._balance(other, engine, strobes) <= 0]
        if missing:
            return f"{progress}; {self.name(position)} waits for a token from {' and '.join(missing)}"
        return f"{progress}; {self.name(position)} has not started"

    def _balance(self, giver: Engine, taker: Engine, strobes: Strobes) -> int:
        """Count the tokens that `giver` has given and `taker` has not taken."""
        done = self.queues[giver][: len(strobes.finish[giver])]
        begun = self.queues[taker][: len(strobes.start[taker])]
        given = sum(taker in self._tokens(int(p), "signal") for p in done)
        return given - sum(giver in self._tokens(int(p), "wait") for p in begun)


def _shift(instruction: Instruction, field: str) -> int:
    shift = 0
    for f in instruction.fields:
        if f.name == field:
            return shift
        shift += f.bits
    raise KeyError(field)
