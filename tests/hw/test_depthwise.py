"""The depthwise mode in the compute engine against the interpreted meaning, and its timing against `timing`."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.hw.compute_bench import (
    Program,
    Run,
    check_run,
    expected_memories,
    issue_count,
    pixel_rows,
    random_memories,
    random_program,
    run_compute,
)
from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tilewright.hw.compute_engine import ComputeEngine
from tilewright.hw.elaborate import component_verilog
from tilewright.hw.timing import (
    COMPUTE_DECODE_CYCLES,
    COMPUTE_START_CYCLES,
    WINDOW_CYCLES,
    compute_timing,
    depthwise_cycles,
)
from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

GEMM_ONCE = {f"extent_{loop}": 1 for loop in OUT_LOOPS + RED_LOOPS} | {"to_acc": 1}


def convolution(
    config: Config, out: tuple[int, int, int], kernel: tuple[int, int], strides: tuple[int, int] = (1, 1), **more: int
) -> dict[str, int]:
    """Operands of a dense convolution: pixels from 0 on, results to the first entries of `acc` or wherever told."""
    wide = config.gemm.block_out // config.atom
    values = dict(zip((f"extent_{n}" for n in (*OUT_LOOPS, *RED_LOOPS[1:])), (*out, *kernel), strict=True))
    values |= {"double_y": strides[0] - 1, "double_x": strides[1] - 1}
    _, rows, columns = pixel_rows(values)
    values |= {"a_pixel": wide, "a_row": wide * columns, "a_out0": wide * rows * columns, "w_out0": 1, "p_out0": 1}
    for operand, unit in (("b", 1), ("d", 1 if more.get("to_acc") else wide)):
        values |= {f"{operand}_out{i}": unit * int(np.prod(out[i + 1 :])) for i in range(3)}
    return {**values, "clamp_low": -128, "clamp_high": 127, **more}


def run_and_check(isa: InstructionSet, program: Program, rng: np.random.Generator) -> Run:
    before = random_memories(isa.config, rng)
    run = run_compute(isa, program, before)
    check_run(isa, program, run, expected_memories(isa, program, before))
    return run


@pytest.mark.parametrize("name", DEPTHWISE_CONFIGS)
def test_random_programs(name: str, python_random: random.Random, rng: np.random.Generator) -> None:
    """GEMM, VECTOR and DEPTHWISE mixed, as close to each other as they get, with fences where they are needed."""
    check_random_program(DEPTHWISE_CONFIGS[name], python_random, rng, None)


@pytest.mark.parametrize("name", ["4x4", "16x8"])
def test_random_programs_with_random_tokens(name: str, python_random: random.Random, rng: np.random.Generator) -> None:
    check_random_program(DEPTHWISE_CONFIGS[name], python_random, rng, python_random)


def check_random_program(
    config: Config, python_random: random.Random, rng: np.random.Generator, tokens: random.Random | None
) -> None:
    isa = instruction_set(config)
    program = random_program(isa, python_random, count=24 if config.acc_lanes <= 8 else 14, steps=48)
    assert any(n == "DEPTHWISE" and issue_count(n, v) for n, v in program)
    before = random_memories(config, rng)
    run = run_compute(isa, program, before, tokens)
    check_run(isa, program, run, expected_memories(isa, program, before))


@pytest.mark.parametrize("name", ["4x4", "8x16", "16x8", "64x4"])
def test_every_kernel(name: str, rng: np.random.Generator) -> None:
    """Every kernel that fits into the window, or the extreme ones, with all strides in turn, to `acc`."""
    config = DEPTHWISE_CONFIGS[name]
    isa = instruction_set(config)
    kernels = list(itertools.product(range(1, config.window_rows + 1), range(1, config.window_columns + 1)))
    if len(kernels) > 15:
        kernels = [k for k in kernels if k[0] in (1, config.window_rows) or k[1] in (1, config.window_columns)][::3]
    strides = itertools.cycle(itertools.product((1, 2), repeat=2))
    program = [
        ("DEPTHWISE", convolution(config, (1, 2, 3), kernel, next(strides), to_acc=1, d_base=6 * i, w_base=i))
        for i, kernel in enumerate(kernels)
    ]
    run_and_check(isa, program, rng)


@pytest.mark.parametrize("name", ["4x4", "8x16"])
def test_cycles(name: str, rng: np.random.Generator) -> None:
    """One pixel a cycle over blocks and rows, unless rows are shorter than the line buffer's turn; no gaps beside."""
    config = DEPTHWISE_CONFIGS[name]
    isa = instruction_set(config)
    gemm = {**GEMM_ONCE, "d_base": 100}
    program, issues = [("GEMM", gemm)], [1]
    for columns in (1, 2, 3, 5):
        values = convolution(config, (2, 3, columns), (min(2, config.window_rows), 1), to_acc=1)
        blocks, rows, row = pixel_rows(values)
        cycles = depthwise_cycles(config, blocks, rows, row)
        assert cycles == blocks * rows * row + WINDOW_CYCLES or (config.window_rows > 1 and row < 3)
        program += [("DEPTHWISE", {**values, "d_base": base}) for base in (0, 40)]
        program += [("GEMM", gemm), ("DEPTHWISE", {**values, "extent_red2": 0}), ("DEPTHWISE", values)]
        issues += [cycles, cycles, 1, 1, cycles]
    run = run_and_check(isa, program, rng)
    apart = [b - a for a, b in itertools.pairwise(run.starts)]
    assert apart == [max(n, COMPUTE_DECODE_CYCLES) for n in issues[:-1]]
    latency = compute_timing(config).latency
    last_steps = [s + COMPUTE_START_CYCLES + n - 1 for s, n in zip(run.starts, issues, strict=True)]
    assert run.finishes == [c + latency for c in last_steps]


@pytest.mark.parametrize("name", ["4x4", "16x8"])
def test_kernel_larger_than_the_window(name: str, rng: np.random.Generator) -> None:
    """Summed over several instructions through `acc`; the last one requantizes. NumPy says what comes out."""
    config = DEPTHWISE_CONFIGS[name]
    isa = instruction_set(config)
    most_rows, most_columns = config.window_rows, config.window_columns
    kernel, out = (most_rows + 1, most_columns + 1), (1, 2, 3)
    whole = convolution(config, out, kernel)
    parts = [
        (r, c, min(most_rows, kernel[0] - r), min(most_columns, kernel[1] - c))
        for r in range(0, kernel[0], most_rows)
        for c in range(0, kernel[1], most_columns)
    ]
    before = random_memories(config, rng)
    taps = rng.integers(-128, 128, (config.gemm.block_out, *kernel), np.int8)
    program = []
    for i, (r, c, rows, columns) in enumerate(parts):
        part = {**whole, "a_base": r * whole["a_row"] + c * whole["a_pixel"], "w_base": i, "to_acc": 1, "fence": 1}
        part |= {"extent_red1": rows, "extent_red2": columns, "accumulate": int(i > 0), "d_out1": 3, "d_out2": 1}
        program.append(("DEPTHWISE", part))
        window = rng.integers(-128, 128, (config.gemm.block_out, config.gemm.block_in), np.int8)
        view = window[:, : most_rows * most_columns].reshape(-1, most_rows, most_columns)
        view[:, most_rows - rows :, most_columns - columns :] = taps[:, r : r + rows, c : c + columns]
        before["wgt"][i] = window.ravel()
    run = run_compute(isa, program, before)
    check_run(isa, program, run, expected_memories(isa, program, before))
    image = before["act"].reshape(-1, config.gemm.block_out)[: (kernel[0] + 1) * (kernel[1] + 2)]
    image = image.reshape(kernel[0] + 1, kernel[1] + 2, -1).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(0, 1))
    assert np.array_equal(run.memories["acc"][:6], np.einsum("yxcij,cij->yxc", windows, taps).reshape(6, -1))


@pytest.mark.parametrize("name", ["4x8_batch2", "8x8", "16x8"])
def test_whole_epilogue_and_wrapping_addresses(name: str, rng: np.random.Generator) -> None:
    """Bias, partial sums, residual and table at once, everything starting at the last entry of its memory."""
    config = DEPTHWISE_CONFIGS[name]
    isa = instruction_set(config)
    epilogue = {
        "residual": 1, "bias_enable": 1, "accumulate": 1, "table_enable": 1, "table": 1, "residual_multiplier_a": 9999,
        "residual_multiplier_b": 7777, "residual_shift": 14, "b_base": config.act_depth // 2,
    }  # fmt: skip
    last = {"a_base": config.act_depth - 2, "w_base": config.wgt_depth - 1, "p_base": config.prm_depth - 1}
    small = convolution(config, (2, 2, 4), (min(2, config.window_rows), 3), **last, **epilogue)
    results = {"d_base": config.act_depth // 2 + 64, "b_out0": 0}
    run_and_check(isa, [("DEPTHWISE", small | results), ("GEMM", {**GEMM_ONCE, "fence": 1})], rng)


@pytest.mark.parametrize(
    "wrong",
    [{"extent_red1": 3}, {"extent_red2": 5}, {"extent_out2": 15}, {"extent_out2": 8, "double_x": 1}],
    ids=["rows", "columns", "long_row", "long_row_stride_2"],
)
def test_what_does_not_fit_stops(wrong: dict[str, int], rng: np.random.Generator) -> None:
    """Words that no assembler makes: the array has a window of 2 x 4 and rows of 16 pixels."""
    config = DEPTHWISE_CONFIGS["8x8"]
    isa = instruction_set(config)
    values = convolution(config, (1, 1, 1), (1, 3), to_acc=1) | wrong
    run = run_compute(isa, [("DEPTHWISE", values)], random_memories(config, rng), encoder=unchecked(isa))
    assert run.illegal
    assert run.steps == 0


def unchecked(isa: InstructionSet) -> InstructionSet:
    """Return instructions that encode whatever the bits can hold."""
    free = [
        replace(i, constraints=(), fields=tuple(replace(f, maximum=None) for f in i.fields)) for i in isa.instructions
    ]
    return replace(isa, instructions=tuple(free))


def test_largest_that_fits_runs(rng: np.random.Generator) -> None:
    config = DEPTHWISE_CONFIGS["8x8"]
    program = [
        ("DEPTHWISE", convolution(config, (1, 1, 13), (2, 4), to_acc=1)),
        ("DEPTHWISE", convolution(config, (1, 1, 7), (2, 4), (1, 2), to_acc=1, d_base=16)),
    ]
    run_and_check(instruction_set(config), program, rng)


def test_halt_reads_nothing_more(rng: np.random.Generator) -> None:
    config = DEPTHWISE_CONFIGS["8x8"]
    program = [("DEPTHWISE", convolution(config, (1, 4, 8), (2, 2), to_acc=1))]
    run = run_compute(instruction_set(config), program, random_memories(config, rng), halt_from=12)
    assert run.starts == [1]
    assert run.steps == 12 - 1  # the first in cycle 2, the last in the cycle in which it is told, as other instructions
    assert run.finishes == []


@pytest.mark.parametrize("name", ["4x4", "16x4_batch2"])
def test_converts_to_verilog(name: str) -> None:
    text = component_verilog(ComputeEngine(instruction_set(DEPTHWISE_CONFIGS[name])), "compute_engine")
    assert (".lines " in text) == (DEPTHWISE_CONFIGS[name].window_rows > 1)
