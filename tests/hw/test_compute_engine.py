"""The compute engine against the interpreted meaning of its instructions, and its timing against `timing`."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest
from amaranth.hdl import Mux, Value

from tests.hw.compute_bench import (
    check_run,
    expected_memories,
    random_memories,
    random_program,
    run_compute,
    step_count,
)
from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.hw.compute_engine import ComputeEngine
from tilewright.hw.elaborate import component_verilog
from tilewright.hw.timing import COMPUTE_DECODE_CYCLES, COMPUTE_START_CYCLES, compute_timing, step_interval
from tilewright.hw.vector_alu import VECTOR_DATAPATH
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import instruction_set
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.isa.vector_ops import VECTOR_OPS, A, B, VectorOp

# Amaranth warns of components that a refused constructor leaves behind.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

TINY = PRESETS["tiny"]
WIDE = pytest.param(PRESETS["16x16"], marks=pytest.mark.slow)
ONCE = {f"extent_{loop}": 1 for loop in OUT_LOOPS + RED_LOOPS}
ABSDIFF = VectorOp("absdiff", 4, (A - B).maximum(B - A), "add", "sum of distances of a and b")


@pytest.mark.parametrize("name", COMPUTE_CONFIGS)
@pytest.mark.parametrize("hurried", [False, True], ids=["random_tokens", "no_waits"])
def test_random_programs(name: str, hurried: bool, python_random: random.Random, rng: np.random.Generator) -> None:
    config = COMPUTE_CONFIGS[name]
    isa = instruction_set(config)
    program = random_program(isa, python_random, count=25 if config.acc_lanes <= 8 else 10)
    before = random_memories(config, rng)
    run = run_compute(isa, program, before, None if hurried else python_random)
    check_run(isa, program, run, expected_memories(isa, program, before))


def back_to_back(lengths: list[int]) -> list[tuple[str, Mapping[str, int]]]:
    return [("GEMM", {**ONCE, "extent_red1": n, "to_acc": 1, "d_base": i}) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("name", ["tiny", "32_to_4", "bare", "interval2", "interval4_4_to_16_batch2"])
def test_nothing_stands_between_instructions(name: str, rng: np.random.Generator) -> None:
    """Except, where results have to be some cycles apart, what short reductions have to wait."""
    config = COMPUTE_CONFIGS[name]
    isa = instruction_set(config)
    lengths = [2, 7, 1, 1, 0, 3, 2, 12, 1, 2, 0, 1, 4, 1, 3, 3, 5]
    run = run_compute(isa, back_to_back(lengths), random_memories(config, rng))
    start, last = run.starts[0], -config.epilogue.interval
    starts, finishes = [], []
    for length in lengths:
        interval = step_interval(config, length) if length else 1
        starts.append(start)
        first = max(start + COMPUTE_START_CYCLES, last + interval)
        last = first + (max(1, length) - 1) * interval
        finishes.append(last + compute_timing(config).latency)
        start = max(last, start + COMPUTE_DECODE_CYCLES)
    assert run.starts == starts
    assert run.finishes == finishes


def test_fence_waits_for_all_results(rng: np.random.Generator) -> None:
    isa = instruction_set(TINY)
    program = back_to_back([3, 2])
    program[1][1]["fence"] = 1
    run = run_compute(isa, program, random_memories(TINY, rng))
    assert run.starts[1] == run.finishes[0] + 1
    assert run.fence_cycles == compute_timing(TINY).latency + 1


@pytest.mark.parametrize("name", ["tiny", "interval2", "interval4_4_to_16_batch2"])
def test_single_step_results_at_full_rate(name: str, rng: np.random.Generator) -> None:
    """Result vectors through the whole epilogue as fast as it takes them, every part of it in use."""
    config = COMPUTE_CONFIGS[name]
    isa = instruction_set(config)
    first = config.act_depth // 2
    values = {
        **ONCE, "extent_out2": 60, "a_out2": 1, "w_out2": 1, "b_out2": config.ratio, "p_out2": 1,
        "d_out2": config.ratio, "d_base": first, "residual": 1, "bias_enable": 1, "accumulate": 1, "table_enable": 1,
        "table": 1, "residual_multiplier_a": 9999, "residual_multiplier_b": 7777, "residual_shift": 14,
        "clamp_low": -128, "clamp_high": 127,
    }  # fmt: skip
    before = random_memories(config, rng)
    run = run_compute(isa, [("GEMM", values)], before)
    check_run(isa, [("GEMM", values)], run, expected_memories(isa, [("GEMM", values)], before))
    cycles = (step_count(values) - 1) * config.epilogue.interval + 1
    assert run.finishes[0] - run.starts[0] == cycles + compute_timing(config).latency
    assert len(np.unique(run.memories["act"][first : first + 60 * config.ratio])) > 60


def test_unknown_vector_operation_stops(rng: np.random.Generator) -> None:
    isa = instruction_set(TINY)
    encoder = instruction_set(TINY, (*VECTOR_OPS, ABSDIFF))
    before = random_memories(TINY, rng)
    bad = {**ONCE, "op": ABSDIFF.code, "to_acc": 1, "d_base": 5}
    program = [*back_to_back([4]), ("VECTOR", bad), *back_to_back([4])]
    run = run_compute(isa, program, before, encoder=encoder)
    assert run.illegal
    assert len(run.starts) == 2
    assert (run.memories["acc"][5] == before["acc"][5]).all()


def test_unknown_code_is_no_matter_of_gemm(rng: np.random.Generator) -> None:
    """The bits that are VECTOR's `op` hold something else in GEMM."""
    isa = instruction_set(TINY)
    program = [("GEMM", {**ONCE, **{f"w_{n}": 255 for n in OUT_LOOPS + RED_LOOPS}, "w_base": 255})]
    before = random_memories(TINY, rng)
    check_run(isa, program, run_compute(isa, program, before), expected_memories(isa, program, before))


def test_halt_issues_nothing_more(rng: np.random.Generator) -> None:
    isa = instruction_set(TINY)
    run = run_compute(isa, back_to_back([30, 5]), random_memories(TINY, rng), halt_from=12)
    assert run.starts == [1]
    assert run.steps == 12 - 1  # the first in cycle 2, the last in the cycle in which it is told
    assert run.finishes == []
    assert run.busy


def absdiff(a: Value, b: Value, zero_a: Value, zero_b: Value) -> Value:
    """Wrap the difference to 32 bits first, as the ISA's arithmetic does."""
    difference, opposite = (a - b)[:32].as_signed(), (b - a)[:32].as_signed()
    return Mux(difference > opposite, difference, opposite)


@pytest.mark.parametrize("name", ["tiny", "acc24", "4_to_8"])
def test_added_vector_operation(name: str, python_random: random.Random, rng: np.random.Generator) -> None:
    """One entry in the table and one in the datapath; everything else follows."""
    config = COMPUTE_CONFIGS[name]
    isa = instruction_set(config, (*VECTOR_OPS, ABSDIFF))
    drawn = random_program(isa, python_random, count=20)
    program = [(n, {**v, "op": ABSDIFF.code, "fence": 1} if n == "VECTOR" else {**v, "fence": 1}) for n, v in drawn]
    before = random_memories(config, rng)
    run = run_compute(isa, program, before, datapath={**VECTOR_DATAPATH, "absdiff": absdiff})
    check_run(isa, program, run, expected_memories(isa, program, before))
    assert any(n == "VECTOR" and step_count(v) for n, v in program)


def test_operation_without_hardware_is_refused() -> None:
    isa = instruction_set(TINY, (*VECTOR_OPS, ABSDIFF))
    with pytest.raises(ConfigError, match="vector operation `absdiff` has no entry in the datapath"):
        ComputeEngine(isa)


@pytest.mark.parametrize("config", [TINY, COMPUTE_CONFIGS["4_to_8"], COMPUTE_CONFIGS["bare"], WIDE])
def test_converts_to_verilog(config: Config) -> None:
    text = component_verilog(ComputeEngine(instruction_set(config)), "compute_engine")
    assert "module compute_engine(" in text
    assert ("tbl_write__data" in text) == (config.epilogue.tables > 0)
