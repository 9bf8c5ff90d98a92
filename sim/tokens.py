"""Does a program end: the token machine without time.

Fetch puts instructions, in order, into their engines' queues and waits while the queue of the next one is full. An
engine starts the head of its queue when every token that it waits for is there and none of the counters that it gives
to is full; it gives its tokens when the instruction is complete. Every counter has one giver and one taker, so what can
start now can still start later: whether a program ends does not depend on the order tried here, nor on times.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import Engine
from tilewright.sim.decoded_program import DecodedProgram

Pair = tuple[Engine, Engine]


@dataclass(frozen=True)
class Step:
    """What the token machine sees of one instruction.

    Attributes
    ----------
    engine : Engine
    waits, signals : tuple of Engine
        The engines that tokens are taken from and given to.
    fence : bool
    """

    engine: Engine
    waits: tuple[Engine, ...]
    signals: tuple[Engine, ...]
    fence: bool


def steps_of(program: DecodedProgram) -> list[Step]:
    """Return the instructions of a program as the token machine sees them."""
    steps: list[Step | None] = [None] * len(program)
    for instruction in program.isa.instructions:
        values, others = program.operands[instruction.name], instruction.engine.others
        masks = [tuple(other for bit, other in enumerate(others) if mask >> bit & 1) for mask in range(4)]
        fences = values.get("fence", np.zeros_like(values["wait"]))
        positions = program.positions[instruction.name].tolist()
        rows = zip(positions, values["wait"].tolist(), values["signal"].tolist(), fences.tolist(), strict=True)
        for position, wait, signal, fence in rows:
            steps[position] = Step(instruction.engine, masks[wait], masks[signal], bool(fence))
    return [step for step in steps if step is not None]


def firing_order(program: DecodedProgram) -> list[int]:
    """Return the stream positions in an order in which the token machine can work them.

    Raises
    ------
    ProgramError
        If the program can come to a standstill, naming what each engine is stuck at.
    """
    return _Machine(program).run()


class _Machine:
    """Queues and counters; engines run as far as they can whenever fetch finds a queue full."""

    def __init__(self, program: DecodedProgram) -> None:
        queue = program.isa.config.queue
        self.program, self.steps = program, steps_of(program)
        self.depths = {Engine.LOAD: queue.load, Engine.COMPUTE: queue.compute, Engine.STORE: queue.store}
        self.full = (1 << queue.token_bits) - 1
        self.queues: dict[Engine, deque[int]] = {engine: deque() for engine in Engine}
        self.tokens: dict[Pair, int] = {(giver, taker): 0 for giver in Engine for taker in giver.others}
        self.order: list[int] = []

    def run(self) -> list[int]:
        for position, step in enumerate(self.steps):
            queue = self.queues[step.engine]
            if len(queue) >= self.depths[step.engine]:
                self._drain()
            if len(queue) >= self.depths[step.engine]:
                raise ProgramError(f"the program comes to a standstill: {self._standstill(position)}")
            queue.append(position)
        self._drain()
        if any(self.queues.values()):
            raise ProgramError(f"the program comes to a standstill: {self._standstill(None)}")
        return self.order

    def _drain(self) -> None:
        """Let every engine work until none can."""
        is_moving = True
        while is_moving:
            is_moving = any(self._advance(engine) for engine in Engine)

    def _advance(self, engine: Engine) -> bool:
        """Work the head of a queue for as long as it can start; tell whether any did."""
        queue, before = self.queues[engine], len(self.order)
        while queue and not self._obstacles(engine, queue[0]):
            position = queue.popleft()
            for giver in self.steps[position].waits:
                self.tokens[giver, engine] -= 1
            for taker in self.steps[position].signals:
                self.tokens[engine, taker] += 1
            self.order.append(position)
        return len(self.order) > before

    def _obstacles(self, engine: Engine, position: int) -> list[str]:
        """Say what keeps an instruction from starting: missing tokens, or a full counter of its engine's tokens."""
        missing = [f"for a token from {g}" for g in self.steps[position].waits if not self.tokens[g, engine]]
        full = [taker for taker in engine.others if self.tokens[engine, taker] >= self.full]
        return missing + [f"for {taker} to take some of {self.full} tokens" for taker in full]

    def _standstill(self, blocked: int | None) -> str:
        stuck = []
        for engine, queue in self.queues.items():
            if queue:
                reasons = " and ".join(self._obstacles(engine, queue[0]))
                stuck.append(f"{self.program.describe(queue[0])} waits {reasons}")
        if blocked is not None:
            engine = self.steps[blocked].engine
            stuck.append(f"instruction {blocked} finds the {engine} queue of {self.depths[engine]} full")
        return "; ".join(stuck)
