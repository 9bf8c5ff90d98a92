"""Random legal instructions, from the field kinds of the instruction table; biased to the corners.

Legal means that every implementation must give one result: a bounded number of steps, operands that the table
allows, DRAM accesses inside the arena, and no entry that an instruction both reads and writes. Programs of them,
with tokens and fences, are made in `tilewright.sim.random_programs`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.isa.config import Config
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.footprint import Footprint, footprint
from tilewright.isa.instructions import Engine, Instruction, InstructionSet

_ATTEMPTS = 40
_PADDED = (("pad_left", "extent_run", "pad_right"), ("pad_top", "extent0", "pad_bottom"))


@dataclass(frozen=True)
class RandomInstruction:
    """One drawn instruction; `wait`, `signal` and `fence` are still 0."""

    instruction: Instruction
    values: Mapping[str, int]
    footprint: Footprint


@dataclass(frozen=True)
class Limits:
    """Bounds that keep random instructions small, and what they lean to.

    Attributes
    ----------
    steps : int
        Most iterations of all loops of an instruction together.
    dram_bytes : int
        DRAM accesses stay below this address.
    nothing : float
        Chance that an instruction has a zero extent, and so does nothing.
    spread : int
        Scratchpad addresses lie so far at most from the border where they wrap, so that operands meet; 0: anywhere.
    weights : tuple of int
        How often instructions of the load, compute and store engines are drawn, one as against another.
    largest : float
        Chance that one of an instruction's extents or paddings, or all of a direction, is the largest that can be
        written, the others being 1 or none, whatever `steps` says.
    """

    steps: int = 96
    dram_bytes: int = 16384
    nothing: float = 0.08
    spread: int = 0
    weights: tuple[int, int, int] = (2, 6, 3)
    largest: float = 0.0


def random_instruction(isa: InstructionSet, rng: random.Random, limits: Limits = Limits()) -> RandomInstruction:
    """Draw an instruction; by default, one in about twelve has a zero extent and does nothing."""
    weights = dict(zip(Engine, limits.weights, strict=True))
    instruction = rng.choices(isa.instructions, [weights[i.engine] for i in isa.instructions])[0]
    for _ in range(_ATTEMPTS):
        values = _draw(isa.config, instruction, rng, limits)
        if not _is_allowed(instruction, values):
            continue
        touched = footprint(isa, instruction.opcode, values)
        if not touched.reads_own_writes and _inside(touched, limits):
            return RandomInstruction(instruction, values, touched)
    values = {**_draw(isa.config, instruction, rng, limits), **_nothing(instruction)}
    while not _is_allowed(instruction, values):
        values = {**_draw(isa.config, instruction, rng, limits), **_nothing(instruction)}
    return RandomInstruction(instruction, values, footprint(isa, instruction.opcode, values))


def _is_allowed(instruction: Instruction, values: Mapping[str, int]) -> bool:
    return all(constraint.holds(values) for constraint in instruction.constraints)


def _nothing(instruction: Instruction) -> dict[str, int]:
    """Zero extents everywhere."""
    pads = ("pad_left", "pad_right", "pad_top", "pad_bottom")
    return {name: 0 for name, f in instruction.operands.items() if f.kind is FieldKind.EXTENT or name in pads}


def _inside(touched: Footprint, limits: Limits) -> bool:
    accesses = [m["dram"] for m in (touched.reads, touched.writes) if "dram" in m]
    return all(not len(a) or a[-1] < limits.dram_bytes for a in accesses)


def _draw(config: Config, instruction: Instruction, rng: random.Random, limits: Limits) -> dict[str, int]:
    extents = [f for f in instruction.operands.values() if f.kind is FieldKind.EXTENT]
    values = _draw_extents(extents, rng, limits)
    for name, f in instruction.operands.items():
        if name not in values:
            values[name] = _draw_field(f, rng, limits)
    for group in instruction.exclusive:
        keep = rng.choice(group)
        values |= {name: 0 for name in group if name != keep}
    return values


def _draw_extents(extents: list[Field], rng: random.Random, limits: Limits) -> dict[str, int]:
    """Extents whose product stays below `limits.steps`; pads are small, so that boxes stay small too."""
    names = [f.name for f in extents]
    if limits.largest and extents and rng.random() < limits.largest:
        return _draw_largest(extents, rng)
    values = dict.fromkeys(names, 1)
    left = limits.steps
    for f in rng.sample(extents, len(extents)):
        name = f.name
        if name.startswith("pad_"):
            values[name] = rng.choice((0, 0, 0, 1, 2))
            left = max(1, left // (1 + values[name]))
            continue
        values[name] = rng.choice((1, 1, 2, 3, rng.randint(1, max(1, left))))
        values[name] = min(values[name], max(1, left), f.values.stop - 1)
        left //= values[name]
    if names and rng.random() < limits.nothing:
        values[rng.choice(names)] = 0
    return values


def _draw_largest(extents: list[Field], rng: random.Random) -> dict[str, int]:
    """One extent is the largest, or a padding, or both paddings of a direction and what lies between them."""
    values = {f.name: int(not f.name.startswith("pad_")) for f in extents}
    directions = [d for d in _PADDED if set(d) <= set(values)]
    chosen = rng.choice([*((f.name,) for f in extents), *directions])
    return values | {f.name: f.values.stop - 1 for f in extents if f.name in chosen}


def _draw_field(f: Field, rng: random.Random, limits: Limits) -> int:
    if f.bits == 0 or f.kind is FieldKind.SYNC or f.name == "fence":
        return 0
    if f.choices is not None:
        return rng.choice(list(f.choices.values()))
    top = f.values.stop - 1
    match f.kind:
        case FieldKind.DRAM_ADDRESS:
            return rng.randrange(0, limits.dram_bytes // f.align) * f.align
        case FieldKind.DRAM_STRIDE:
            return f.normalise(rng.choice((0, 1, 2, 3, -1, rng.randint(-16, 64))) * f.align)
        case FieldKind.STRIDE:
            return rng.choice((0, 1, 1, 2, top, top, rng.randint(0, min(top, 40)), rng.choice(f.values)))
        case FieldKind.ADDRESS if limits.spread:
            return rng.randint(-limits.spread, limits.spread) % (1 << f.bits)
        case FieldKind.ADDRESS:
            return rng.choice((0, top, rng.choice(f.values), rng.choice(f.values)))
        case _:
            return rng.choice((f.values.start, top, rng.choice(f.values), rng.choice(f.values)))
