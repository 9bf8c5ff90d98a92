"""Encoding, assembly and the random generator, on every preset and odd shapes."""

from __future__ import annotations

import random

import pytest

from tilewright.isa.assembly import assemble, disassemble
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import Field
from tilewright.isa.footprint import footprint
from tilewright.isa.generator import Limits, random_instruction
from tilewright.isa.instructions import Instruction, InstructionSet, instruction_set

SHAPES = {
    **PRESETS,
    "4x8": Config(name="4x8").with_values(gemm={"block_in": 4, "block_out": 8}),
    "32x16_batch2": Config(name="32x16_batch2").with_values(gemm={"block_in": 32, "batch": 2}),
    "depthwise": Config(name="depthwise").with_values(depthwise={"enabled": True, "columns": 16}),
    "bare": Config(name="bare").with_values(epilogue={"residual": False, "tables": 0}, vector={"multiply": False}),
}


#: What makes operands legal, whatever the others are, for instructions with constraints.
LEGAL = {
    "DEPTHWISE": {"extent_out2": 1},
    "ROW": {"to_acc": 1, "bias_enable": 0, "extent_red0": 1, "extent_red1": 1, "extent_red2": 1},
}


@pytest.fixture(params=list(SHAPES))
def isa(request: pytest.FixtureRequest) -> InstructionSet:
    return instruction_set(SHAPES[request.param])


def any_value(f: Field, rng: random.Random) -> int:
    if f.choices is not None:
        return rng.choice(list(f.choices.values()))
    value = rng.choice(f.values) if f.bits else 0
    return value - value % f.align


def any_operands(instruction: Instruction, rng: random.Random) -> dict[str, int]:
    values = {name: any_value(f, rng) for name, f in instruction.operands.items()}
    for group in instruction.exclusive:
        values |= dict.fromkeys(group[1:], 0)
    if not all(constraint.holds(values) for constraint in instruction.constraints):
        values |= LEGAL[instruction.name]
    return values


def test_encoding_round_trips(isa: InstructionSet, seed: int) -> None:
    rng = random.Random(seed)
    for instruction in isa.instructions:
        for _ in range(50):
            values = any_operands(instruction, rng)
            data = isa.encode(instruction.name, values)
            assert len(data) == isa.instruction_bytes
            assert isa.decode(data) == (instruction, values)


def test_fields_fill_the_word_without_overlap(isa: InstructionSet) -> None:
    for instruction in isa.instructions:
        seen, legal = 0, LEGAL.get(instruction.name, {})
        for name, f in instruction.operands.items():
            if not f.bits or f.choices is not None:
                continue
            top = f.values.stop - 1
            values = {**legal, name: top - top % f.align}
            if not all(c.holds(instruction.complete(legal) | values) for c in instruction.constraints):
                continue  # the round trip covers it
            word = instruction.encode(values) ^ instruction.encode(legal)
            assert word & seen == 0, f"{instruction.name}.{name}"
            seen |= word
        assert seen < 1 << instruction.bits


@pytest.mark.parametrize(
    ("mnemonic", "operands", "message"),
    [
        ("GEMM", {"extent_out0": 1 << 20}, r"GEMM.extent_out0 must be in 0\.\.16383, not 1048576"),
        ("GEMM", {"zero_out": 128}, r"GEMM.zero_out must be in -128\.\.127, not 128"),
        ("GEMM", {"a_base": -1}, r"GEMM.a_base must be in 0\.\.8191, not -1"),
        ("GEMM", {"depth": 1}, r"GEMM has no operand `depth`; it has wait, signal, fence"),
        ("LOAD_WGT", {"dram_base": 3}, r"LOAD_WGT.dram_base must be a multiple of 16, not 3"),
        ("VECTOR", {"op": 9}, r"VECTOR.op must be one of \[0, 1, 2, 3\], not 9"),
        ("VECTOR", {"from_acc": 1, "accumulate": 1}, r"VECTOR cannot set from_acc and accumulate together"),
        (
            "DEPTHWISE",
            {"extent_out2": 65, "double_x": 1, "extent_red2": 1},
            "an input row must be at most 128 pixels long",
        ),
        ("DEPTHWISE", {"extent_red1": 4}, r"DEPTHWISE.extent_red1 must be in 0\.\.3, not 4"),
        ("ROW", {"op": 0}, "ROW: the result of a reduction must go to acc, without a bias"),
        ("ROW", {"op": 4, "extent_red1": 2}, "an operation that is no reduction must have reduction extents of 1"),
        ("HALT", {}, r"unknown instruction `HALT`; known: LOAD_ACT"),
    ],
)
def test_impossible_operands_are_refused(mnemonic: str, operands: dict[str, int], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        instruction_set(PRESETS["16x16"].with_values(depthwise={"enabled": True})).encode(mnemonic, operands)


def test_strides_wrap() -> None:
    isa = instruction_set(PRESETS["16x16"])
    assert isa.encode("GEMM", {"a_red0": -1}) == isa.encode("GEMM", {"a_red0": 8191})


def test_illegal_opcode_is_refused(isa: InstructionSet) -> None:
    with pytest.raises(ProgramError, match="illegal opcode 0"):
        isa.decode(bytes(isa.instruction_bytes))


def test_assembly_round_trips(isa: InstructionSet, seed: int) -> None:
    rng = random.Random(seed)
    chosen = [rng.choice(isa.instructions) for _ in range(200)]
    program = b"".join(isa.encode(i.name, any_operands(i, rng)) for i in chosen)
    text = disassemble(program, isa)
    assert len(text.splitlines()) == 201
    assert assemble(text, isa) == program


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("JUMP", r"line 2: unknown instruction `JUMP`; known: "),
        ("GEMM a_base", r"line 2: GEMM: an operand is written name=value, not `a_base`"),
        ("GEMM a_base=x", r"line 2: GEMM.a_base must be an integer, not `x`"),
        ("GEMM a_base=1 a_base=2", r"line 2: GEMM.a_base is given twice"),
        ("GEMM q=1", r"line 2: GEMM has no operand `q`"),
        ("GEMM wait=compute", r"line 2: GEMM.wait must be of load, store joined by \+, not `compute`"),
        ("VECTOR op=xor", r"line 2: VECTOR.op must be one of sum, max, min, mul, not `xor`"),
        (".config 0123456789abcdef", r"line 2: the text is for configuration 0123456789abcdef, not "),
    ],
)
def test_assembly_errors_name_line_and_subject(line: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        assemble(f"; a program\n{line}\n", instruction_set(PRESETS["16x16"]))


def test_disassembly_names_the_bad_instruction(isa: InstructionSet) -> None:
    good = isa.encode("GEMM", {})
    with pytest.raises(ProgramError, match="instruction 1: illegal opcode 0"):
        disassemble(good + bytes(isa.instruction_bytes), isa)
    with pytest.raises(ProgramError, match=r"must be a multiple of \d+ bytes, not 5"):
        disassemble(good[:5], isa)


def test_random_instructions_are_legal_and_reproducible(isa: InstructionSet, seed: int) -> None:
    limits = Limits(dram_bytes=1 << 16)
    drawn = [random_instruction(isa, random.Random(seed + i), limits) for i in range(300)]
    again = [random_instruction(isa, random.Random(seed + i), limits) for i in range(300)]
    assert [(d.instruction.name, d.values) for d in drawn] == [(d.instruction.name, d.values) for d in again]
    assert {d.instruction.name for d in drawn} == set(isa.by_name)
    for d in drawn:
        isa.encode(d.instruction.name, d.values)
        assert not d.footprint.reads_own_writes
        for entries in (d.footprint.reads.get("dram", ()), d.footprint.writes.get("dram", ())):
            assert all(0 <= e < limits.dram_bytes for e in entries)
    idle = sum(not any(len(e) for e in d.footprint.writes.values()) for d in drawn)
    assert 0 < idle < len(drawn) // 3


def test_footprint_of_a_known_gemm() -> None:
    isa = instruction_set(SHAPES["4x8"])  # atom 4, two atoms a row: GEMM reads single atoms, writes aligned pairs
    extents = {f"extent_{n}": 1 for n in ("out0", "out1", "out2", "red0", "red1", "red2")}
    values = isa.by_name["GEMM"].complete(
        {**extents, "extent_out0": 2, "extent_red2": 3, "a_base": 5, "a_red2": 1, "d_base": 101, "d_out0": 2}
    )
    touched = footprint(isa, isa.by_name["GEMM"].opcode, values)
    assert touched.reads["act"].tolist() == [5, 6, 7]
    assert touched.writes["act"].tolist() == [100, 101, 102, 103]
    assert touched.reads["wgt"].tolist() == [0]
