"""Row operations in the compute engine against the interpreted meaning, and their timing against `timing`."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from tests.hw.compute_bench import (
    Program,
    Run,
    check_run,
    expected_memories,
    random_memories,
    random_program,
    run_compute,
    step_count,
)
from tests.hw.row_configs import ROW_CONFIGS
from tilewright.hw.compute_engine import ComputeEngine
from tilewright.hw.elaborate import component_verilog
from tilewright.hw.timing import COMPUTE_DECODE_CYCLES, COMPUTE_START_CYCLES, compute_timing, row_delay_cycles
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import Instruction, InstructionSet, instruction_set
from tilewright.isa.row_ops import ROW_OPS, RowOp
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

ONCE = {f"extent_{loop}": 1 for loop in OUT_LOOPS + RED_LOOPS}
OPS = {op.name: op for op in ROW_OPS}


def row(config: Config, op: RowOp, steps: int, rows: int = 1, **more: int) -> tuple[str, dict[str, int]]:
    """Return an instruction on rows that follow each other in `act`, with entries from 0 and results from 16 on."""
    wide = config.gemm.block_out // config.atom
    walk = {"extent_out0": rows, "a_out0": steps * wide, "b_out0": 1, "clamp_low": -128, "clamp_high": 127}
    if op.reduce:
        walk |= {"extent_red2": steps, "a_red2": wide, "to_acc": 1, "d_base": 16, "d_out0": 1}
    else:
        base, unit = (16, 1) if more.get("to_acc") else (64 * wide, wide)
        walk |= {"extent_out2": steps, "a_out2": wide, "d_base": base, "d_out0": steps * unit, "d_out2": unit}
    return "ROW", {**ONCE, **walk, "op": op.code, **more}


def run_and_check(
    isa: InstructionSet, program: Program, before: dict[str, np.ndarray], tokens: random.Random | None = None
) -> Run:
    run = run_compute(isa, program, before, tokens)
    check_run(isa, program, run, expected_memories(isa, program, before))
    return run


@pytest.mark.parametrize("name", ROW_CONFIGS)
def test_random_programs(name: str, python_random: random.Random, rng: np.random.Generator) -> None:
    """All compute instructions mixed, as close to each other as they get, with fences where they are needed."""
    config = ROW_CONFIGS[name]
    isa = instruction_set(config)
    program = random_program(isa, python_random, count=40 if config.acc_lanes <= 8 else 20, steps=48)
    assert any(n == "ROW" and step_count(v) for n, v in program)
    run_and_check(isa, program, random_memories(config, rng))


@pytest.mark.parametrize("name", ["tiny", "4_to_16_batch2"])
def test_random_programs_with_random_tokens(name: str, python_random: random.Random, rng: np.random.Generator) -> None:
    config = ROW_CONFIGS[name]
    isa = instruction_set(config)
    program = random_program(isa, python_random, count=30, steps=48)
    run_and_check(isa, program, random_memories(config, rng), python_random)


def entries(op: RowOp, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return operands `b` that an operation meets in use, and some that it does not."""
    usual = {
        "exp_sum": rng.integers(-(1 << 20), 1 << 20, shape),
        "exp": rng.integers(-(1 << 19), 1 << 21, shape),
        "square_sum": rng.integers(-(1 << 15), 1 << 15, shape),
        "normalise": rng.integers(-(1 << 15), 1 << 15, shape) << 16 | rng.integers(0, 1 << 16, shape),
    }.get(op.name, np.zeros(shape, np.int64))
    return np.where(rng.random(shape) < 0.9, usual, rng.integers(-(1 << 31), 1 << 31, shape)).astype(np.int32)


@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("name", ["tiny", "4_to_16_batch2"])
def test_each_operation(name: str, op: RowOp, rng: np.random.Generator) -> None:
    """Rows of several steps and tails, at full rate, with operands of usual sizes, parameters that show each bit."""
    config = ROW_CONFIGS[name]
    isa = instruction_set(config)
    before = random_memories(config, rng)
    before["acc"][:16] = entries(op, rng, before["acc"][:16].shape)
    program = []
    for i, (steps, rows) in enumerate([(1, 12), (2, 8), (5, 3), (1, 1)]):
        most = int(rng.choice([1 << 8, 1 << 13, 1 << 20]))
        more = {"scale": int(rng.integers(most)), "offset": int(rng.choice([0, 7, 31, 1 << 20, (1 << 32) - 1]))}
        more |= {"tail": int(rng.integers(config.gemm.block_out)), "fence": 1, "b_base": int(rng.integers(4))}
        more |= {} if op.reduce else {"p_out2": 1, "bias_enable": i % 2, "to_acc": i // 2}
        program.append(row(config, op, steps, rows, **more))
    run = run_and_check(isa, program, before)
    assert not np.array_equal(run.memories["acc"][16:], before["acc"][16:])


@pytest.mark.parametrize("name", ["tiny", "32_to_4", "long_cascade", "4_to_16_batch2"])
def test_time(name: str, rng: np.random.Generator) -> None:
    """The next instruction starts, and results come, as much later as `timing` says."""
    config = ROW_CONFIGS[name]
    isa = instruction_set(config)
    gemm = ("GEMM", {**ONCE, "to_acc": 1, "d_base": 31})
    program, issues, delays = [gemm], [1], [0]
    for op in ROW_OPS:
        for rows in (1, 4, 0):
            program += [row(config, op, 2, rows), gemm]
            issues += [max(1, 2 * rows), 1]
            delays += [row_delay_cycles(config, op), 0]
    assert min(delays[1::2]) >= 1
    run = run_and_check(isa, program, random_memories(config, rng))
    apart = [after - before for before, after in pairwise(run.starts)]
    assert apart == [max(n + d, COMPUTE_DECODE_CYCLES) for n, d in zip(issues, delays, strict=True)][:-1]
    latency = compute_timing(config).latency
    steps = [s + COMPUTE_START_CYCLES + n - 1 for s, n in zip(run.starts, issues, strict=True)]
    assert run.finishes == [step + d + latency for step, d in zip(steps, delays, strict=True)]


def unchecked(isa: InstructionSet, **values: int) -> InstructionSet:
    """Return an instruction set whose ROW takes any operands."""
    instructions = tuple(
        Instruction(i.opcode, i.engine, i.fields, i.doc, i.meaning) if i.name == "ROW" else i for i in isa.instructions
    )
    return InstructionSet(isa.config, isa.vector_ops, isa.row_ops, instructions)


WRONG = {
    "reduction to act": ("max", {"to_acc": 0}, "the result of a reduction must go to acc, without a bias"),
    "reduction with a bias": ("sum", {"bias_enable": 1}, "the result of a reduction must go to acc, without a bias"),
    "long mapping": ("exp", {"extent_red1": 2}, "an operation that is no reduction must have reduction extents of 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_operands_stop(case: str, rng: np.random.Generator) -> None:
    config = ROW_CONFIGS["tiny"]
    isa = instruction_set(config)
    name, more, message = WRONG[case]
    program = [("GEMM", {**ONCE, "to_acc": 1}), row(config, OPS[name], 1, **more)]
    with pytest.raises(ProgramError, match=message):
        isa.encode(*program[1])
    run = run_compute(isa, program, random_memories(config, rng), encoder=unchecked(isa))
    assert run.illegal
    assert len(run.starts) == 2


def test_converts_to_verilog() -> None:
    text = component_verilog(ComputeEngine(instruction_set(ROW_CONFIGS["4_to_8"])), "compute_engine")
    assert text.count("module \\compute_engine.RowLane") == 1
