"""Encoding many instructions at once gives what encoding each gives, and refuses what that refuses."""

from __future__ import annotations

import random

import pytest

from tests.isa.test_instructions import SHAPES, any_operands
from tilewright.isa.encoding import encode_program
from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import FieldKind
from tilewright.isa.instructions import InstructionSet, instruction_set


@pytest.fixture(params=list(SHAPES))
def isa(request: pytest.FixtureRequest) -> InstructionSet:
    return instruction_set(SHAPES[request.param])


def random_program(isa: InstructionSet, rng: random.Random, count: int) -> list[tuple[str, dict[str, int]]]:
    """Operands that encode: some left out, some strides beyond their bits, which wrap."""
    program = []
    for instruction in rng.choices(isa.instructions, k=count):
        values = any_operands(instruction, rng)
        for name, field in instruction.operands.items():
            if field.kind is FieldKind.STRIDE:
                values[name] += rng.choice((-2, -1, 0, 0, 1)) << field.bits
            elif rng.random() < 0.2 and field.kind is FieldKind.ADDRESS:
                del values[name]
        program.append((instruction.name, values))
    return program


def test_is_that_of_each_instruction(isa: InstructionSet, seed: int) -> None:
    program = random_program(isa, random.Random(seed), 400)
    assert encode_program(isa, program) == b"".join(isa.encode(*one) for one in program)


def test_of_nothing_is_nothing(isa: InstructionSet) -> None:
    assert encode_program(isa, []) == b""


@pytest.mark.parametrize(
    "wrong",
    [
        ("LOAD_ACT", {"extent_run": 1 << 40}),
        ("LOAD_ACT", {"pad_value": -129}),
        ("LOAD_WGT", {"dram_base": 1}),
        ("LOAD_WGT", {"rows": 1}),
        ("VECTOR", {"op": 15}),
        ("VECTOR", {"from_acc": 1, "accumulate": 1}),
        ("ROW", {}),
        ("JUMP", {}),
    ],
    ids=lambda wrong: wrong[0],
)
def test_refuses_what_each_would(wrong: tuple[str, dict[str, int]], seed: int) -> None:
    isa = instruction_set(SHAPES["16x16"])
    with pytest.raises(ProgramError) as expected:
        isa.encode(*wrong)
    program = random_program(isa, random.Random(seed), 20)
    with pytest.raises(ProgramError) as error:
        encode_program(isa, [*program, wrong])
    assert str(error.value) == str(expected.value)
