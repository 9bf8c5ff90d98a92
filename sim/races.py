"""Does a program mean the same at any speed: are all instructions that share entries ordered by tokens and fences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import FieldKind
from tilewright.isa.footprint import Entries, Footprint, footprint
from tilewright.isa.instructions import Engine
from tilewright.isa.order import RESULT_STEPS
from tilewright.isa.semantics import memories
from tilewright.sim.decoded_program import DecodedProgram, Integers
from tilewright.sim.pipeline_steps import PipelineSteps
from tilewright.sim.tokens import Pair, Step, firing_order, steps_of

#: Steps between the completion of entries of a memory and an instruction's reads of them.
Distance = Callable[[str, Entries], Entries]

_ENGINES = tuple(Engine)
_NEVER = -1


@dataclass(frozen=True)
class Race:
    """Two instructions that touch the same entries in an order that nothing enforces.

    Attributes
    ----------
    earlier, later : int
        Stream positions.
    space : str
        The memory they share entries of.
    """

    earlier: int
    later: int
    space: str

    def describe(self, program: DecodedProgram) -> str:
        """Return both instructions and the memory, for messages."""
        first, second = program.describe(self.earlier), program.describe(self.later)
        return f"{second} is not ordered after {first}, with which it shares entries of `{self.space}`"


def check_races(program: DecodedProgram) -> None:
    """Refuse a program whose result depends on timing.

    Raises
    ------
    ProgramError
        Naming the first two instructions that nothing orders; or if the program comes to a standstill.
    """
    for race in find_races(program):
        raise ProgramError(race.describe(program))


def find_races(program: DecodedProgram) -> Iterator[Race]:
    """Yield pairs that share entries, one of them writing, and that tokens and fences leave unordered.

    For every entry only the last write and each engine's last read are looked at: what is ordered after those is
    ordered after all before them. Of several races with one earlier instruction, one is found at least.
    """
    steps = steps_of(program)
    complete = completed_before(steps, firing_order(program))
    history = _History(program, steps)
    for position in range(len(program)):
        instruction, values = program.instruction(position)
        touched = footprint(program.isa, instruction.opcode, values)
        pipeline = history.pipeline if instruction.engine is Engine.COMPUTE else None
        distance = partial(pipeline.distance, instruction.opcode, values) if pipeline else None
        yield from history.races(position, touched, complete[position], distance)
        history.record(position, touched)
        if pipeline:
            pipeline.record(instruction.opcode, values, touched.writes)


def completed_before(steps: Sequence[Step], order: Sequence[int]) -> list[Mapping[Engine, int]]:
    """Return, for each instruction, how many of each engine's instructions are certainly complete when it starts.

    The n-th token taken from a counter can be taken only when the n-th instruction that gives it is complete. Engines
    start and complete their instructions in order; that those before it in its own engine are complete, only a fence
    or a token that came back says.
    """
    givers = _givers(steps)
    ranks = _ranks(steps)
    taken: dict[Pair, int] = dict.fromkeys(givers, 0)
    known = {engine: dict.fromkeys(Engine, 0) for engine in Engine}
    result: list[Mapping[Engine, int]] = [{}] * len(steps)
    for position in order:
        step = steps[position]
        mine = known[step.engine]
        for giver in step.waits:
            source = givers[giver, step.engine][taken[giver, step.engine]]
            taken[giver, step.engine] += 1
            for engine, count in result[source].items():
                mine[engine] = max(mine[engine], count)
            mine[giver] = max(mine[giver], ranks[source] + 1)
        if step.fence:
            mine[step.engine] = ranks[position]
        result[position] = dict(mine)
    return result


def _givers(steps: Sequence[Step]) -> dict[Pair, list[int]]:
    givers: dict[Pair, list[int]] = {(giver, taker): [] for giver in Engine for taker in giver.others}
    for position, step in enumerate(steps):
        for taker in step.signals:
            givers[step.engine, taker].append(position)
    return givers


def _ranks(steps: Sequence[Step]) -> list[int]:
    """Return each instruction's place among those of its engine."""
    counts = dict.fromkeys(Engine, 0)
    ranks = []
    for step in steps:
        ranks.append(counts[step.engine])
        counts[step.engine] += 1
    return ranks


class _History:
    """For every entry of every memory, who wrote it last and who of each engine read it last."""

    def __init__(self, program: DecodedProgram, steps: Sequence[Step]) -> None:
        self.engines = np.array([_ENGINES.index(step.engine) for step in steps], np.int64)
        self.ranks = np.array(_ranks(steps), np.int64)
        self.dram_unit = _dram_unit(program)
        self.pipeline = PipelineSteps(program.isa.config)
        sizes = {name: buffer.shape[0] for name, buffer in memories(program.isa.config).items()}
        self.writers = {name: np.full(size, _NEVER) for name, size in sizes.items()}
        self.readers = {name: np.full((len(_ENGINES), size), _NEVER) for name, size in sizes.items()}

    def _grow(self, space: str, size: int) -> None:
        """Make room for `size` entries."""
        length = len(self.writers[space])
        if size > length:
            more = max(size, 2 * length) - length
            self.writers[space] = np.concatenate([self.writers[space], np.full(more, _NEVER)])
            more_readers = np.full((len(_ENGINES), more), _NEVER)
            self.readers[space] = np.concatenate([self.readers[space], more_readers], axis=1)

    def _units(self, space: str, entries: Entries) -> Entries:
        """Return the entries as places here; bytes of DRAM are taken by the unit that all accesses are aligned to."""
        if space == "dram":
            entries = entries[:: self.dram_unit] // self.dram_unit
            self._grow(space, int(entries[-1]) + 1 if len(entries) else 0)
        return entries

    def races(
        self, position: int, touched: Footprint, complete: Mapping[Engine, int], distance: Distance | None
    ) -> Iterator[Race]:
        """Yield the races of an instruction with earlier ones; `distance` is a compute instruction's, in steps."""
        engine = int(self.engines[position])
        found: set[tuple[int, str]] = set()
        for space, entries in touched.reads.items():
            places = self._units(space, entries)
            writers = self.writers[space][places]
            if distance is not None:
                is_far = (self.engines[writers] == engine) & (distance(space, places) >= RESULT_STEPS)
                writers = writers[~is_far]
            found |= {(other, space) for other in self._unordered(writers, complete)}
        for space, entries in touched.writes.items():
            places = self._units(space, entries)
            accesses = [self.writers[space][places], *self.readers[space][:, places]]
            for others in accesses:
                # the engine itself writes in order, and no read of its own comes after a write that follows
                foreign = others[(others != _NEVER) & (self.engines[others] != engine)]
                found |= {(other, space) for other in self._unordered(foreign, complete)}
        yield from (Race(other, position, space) for other, space in sorted(found))

    def _unordered(self, others: Integers, complete: Mapping[Engine, int]) -> list[int]:
        candidates = np.unique(others[others != _NEVER])
        bounds = np.array([complete[engine] for engine in _ENGINES], np.int64)
        late = self.ranks[candidates] >= bounds[self.engines[candidates]]
        return [int(other) for other in candidates[late]]

    def record(self, position: int, touched: Footprint) -> None:
        """Note what an instruction touches."""
        for space, entries in touched.reads.items():
            places = self._units(space, entries)
            self.readers[space][self.engines[position], places] = position
        for space, entries in touched.writes.items():
            places = self._units(space, entries)
            self.writers[space][places] = position


def _dram_unit(program: DecodedProgram) -> int:
    fields = [f for i in program.isa.instructions for f in i.operands.values()]
    return min(f.align for f in fields if f.kind is FieldKind.DRAM_ADDRESS)
