"""Counts which combinations of instruction, feature and configuration random programs have.

    python -m tests.coverage.functional --programs 9 --holes

Cells are made from the instruction table: every instruction of every configuration with every class of values of every
operand, every pair of its flags and choices, and every instruction after every other of its engine, fenced or not.
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.sim.random_runs import RANDOM_CONFIGS
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.instructions import Engine, Instruction, InstructionSet, instruction_set
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.random_programs import CORNERS, corner_program

#: Configuration, instruction, what of it.
Cell = tuple[str, str, str]
Values = Mapping[str, int]

INSTRUCTIONS = 100


def value_classes(f: Field) -> Mapping[str, range]:
    """Return the classes of an operand's values, by name; those of flags and choices are its values."""
    low, high = f.values.start, f.values.stop - 1
    if f.bits == 0 or f.kind in (FieldKind.OPCODE, FieldKind.DRAM_ADDRESS):
        return {}
    if f.choices is not None:
        return {name: range(value, value + 1) for name, value in f.choices.items()}
    match f.kind:
        case FieldKind.FLAG | FieldKind.SYNC:
            return {str(value): range(value, value + 1) for value in f.values}
        case FieldKind.EXTENT:
            ends = {"0": range(1), "1": range(1, 2), "many": range(2, high), "largest": range(high, high + 1)}
            return {name: values for name, values in ends.items() if values and values.stop <= high + 1}
        case FieldKind.STRIDE | FieldKind.DRAM_STRIDE:
            half = 1 << (f.bits - 1)
            return {"0": range(1), "forward": range(1, half), "back": range(half, 2 * half)}
        case _:
            inner = {"between": range(low + 1, high)} if high - low > 1 else {}
            return {"lowest": range(low, low + 1), "highest": range(high, high + 1), **inner}


@dataclass
class Cells:
    """The cells of a configuration and how often programs had them."""

    name: str
    isa: InstructionSet
    counts: Counter[Cell] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for instruction in self.isa.instructions:
            for what in [*_single(instruction), *_pairs(instruction), *_orders(self.isa, instruction)]:
                self.counts[self.name, instruction.name, what] = 0

    def add(self, program: Iterable[tuple[Instruction, Values]]) -> None:
        """Count the cells of a program."""
        last: dict[Engine, str] = {}
        for instruction, values in program:
            flags = {}
            for name, f in instruction.operands.items():
                found = [label for label, values_of in value_classes(f).items() if values[name] in values_of]
                self._count(instruction, *(f"{name} {label}" for label in found))
                if found and _is_discrete(f):
                    flags[name] = found[0]
            self._count(
                instruction, *(f"{a} {x}, {b} {y}" for (a, x), (b, y) in itertools.combinations(flags.items(), 2))
            )
            if instruction.engine in last:
                fence = " fenced" if values.get("fence") else ""
                self._count(instruction, f"after {last[instruction.engine]}{fence}")
            last[instruction.engine] = instruction.name

    def _count(self, instruction: Instruction, *whats: str) -> None:
        for what in whats:
            cell = self.name, instruction.name, what
            if cell in self.counts:
                self.counts[cell] += 1


def _is_discrete(f: Field) -> bool:
    return f.bits > 0 and f.name != "fence" and (f.kind is FieldKind.FLAG or f.choices is not None)


def _single(instruction: Instruction) -> Iterator[str]:
    for name, f in instruction.operands.items():
        yield from (f"{name} {label}" for label in value_classes(f))


def _pairs(instruction: Instruction) -> Iterator[str]:
    discrete = [(name, value_classes(f)) for name, f in instruction.operands.items() if _is_discrete(f)]
    for (a, classes_a), (b, classes_b) in itertools.combinations(discrete, 2):
        for x, y in itertools.product(classes_a, classes_b):
            if x == y == "1" and any({a, b} <= set(group) for group in instruction.exclusive):
                continue
            yield f"{a} {x}, {b} {y}"


def _orders(isa: InstructionSet, instruction: Instruction) -> Iterator[str]:
    for other in isa.instructions:
        if other.engine is instruction.engine:
            yield f"after {other.name}"
            if instruction.engine is Engine.COMPUTE:
                yield f"after {other.name} fenced"


def measure(name: str, programs: int) -> Cells:
    """Return the cells of the programs that CI runs first on a configuration, and of so many beyond."""
    isa = instruction_set(RANDOM_CONFIGS[name])
    cells, first = Cells(name, isa), zlib.crc32(f"test_simulators_agree_on_a_sample[{name}]".encode())
    for seed in range(first, first + programs):
        program = corner_program(isa, seed, INSTRUCTIONS)
        code = DecodedProgram.of(isa, program.dram, program.offset, program.count)
        cells.add(code.instruction(i) for i in range(program.count))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=len(CORNERS), help="on each configuration")
    parser.add_argument("--holes", action="store_true", help="list what no program had")
    asked = parser.parse_args()
    counts: Counter[Cell] = Counter()
    for name in RANDOM_CONFIGS:
        found = measure(name, asked.programs).counts
        counts.update(found)
        print(f"{name:24} {sum(n > 0 for n in found.values()):6} of {len(found):6}", flush=True)
    _print_by_instruction(counts)
    holes = Counter((instruction, what) for (_, instruction, what), n in counts.items() if not n)
    configs = Counter((instruction, what) for _, instruction, what in counts)
    print(f"on no configuration: {sum(n == configs[hole] for hole, n in holes.items())} of {len(configs)}")
    for (instruction, what), n in sorted(holes.items()) if asked.holes else ():
        print(f"  {instruction:10} {what:50} missing on {n} of {configs[instruction, what]}")


def _print_by_instruction(counts: Mapping[Cell, int]) -> None:
    reached = Counter(instruction for (_, instruction, _), n in counts.items() if n)
    for instruction, n in Counter(instruction for _, instruction, _ in counts).items():
        print(f"{instruction:24} {reached[instruction]:6} of {n:6}, {reached[instruction] / n:.1%}")
    total = sum(n > 0 for n in counts.values())
    print(f"all {total} of {len(counts)}, {total / len(counts):.1%}")


if __name__ == "__main__":
    main()
