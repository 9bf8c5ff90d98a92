"""The real accelerator in the RTL simulator: results equal the functional simulator's, timing moves as it must."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tilewright.isa.config import PRESETS
from tilewright.isa.errors import DeviceError
from tilewright.isa.generator import Limits, random_instruction
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.rtl import RtlSimulator, Stalls

pytestmark = pytest.mark.verilator

ISA = instruction_set(PRESETS["tiny"])
DATA_BYTES = 8192
INPUT, WEIGHTS, OUTPUT = 0, 1024, 4096

Written = tuple[str, dict[str, int]]

_BOX = {"extent0": 1, "extent1": 1, "extent2": 1}
COPY: Sequence[Written] = (
    ("LOAD_ACT", {**_BOX, "dram_base": INPUT, "extent_run": 64, "signal": 2}),
    ("STORE_ACT", {**_BOX, "dram_base": OUTPUT, "extent_run": 64, "wait": 1}),
)
_LOOPS = {"extent_out0": 1, "extent_out1": 8, "extent_out2": 1, "extent_red0": 1, "extent_red1": 1, "extent_red2": 4}
MULTIPLY: Sequence[Written] = (
    ("LOAD_ACT", {**_BOX, "dram_base": INPUT, "extent_run": 32}),
    ("LOAD_WGT", {"dram_base": WEIGHTS, "extent_run": 4, "extent0": 1}),
    ("LOAD_PRM", {"dram_base": WEIGHTS + 512, "extent_run": 1, "extent0": 1, "signal": 1}),
    (
        "GEMM",
        {
            **_LOOPS, "wait": 1, "signal": 2, "a_out1": 4, "a_red2": 1, "w_red2": 1, "d_base": 64, "d_out1": 1,
            "bias_enable": 1, "clamp_low": -128, "clamp_high": 127,
        },
    ),
    ("STORE_ACT", {**_BOX, "dram_base": OUTPUT, "base": 64, "extent_run": 8, "wait": 2}),
)  # fmt: skip


def encode(isa: InstructionSet, program: Sequence[Written]) -> bytes:
    return b"".join(isa.encode(name, values) for name, values in program)


def memory(isa: InstructionSet, program: Sequence[Written], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return random data with the program behind them."""
    return np.concatenate([rng.integers(0, 256, DATA_BYTES, np.uint8), np.frombuffer(encode(isa, program), np.uint8)])


def expected(isa: InstructionSet, dram: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    result = dram.copy()
    FunctionalSimulator(isa).launch(result, DATA_BYTES, count)
    return result


@pytest.fixture(scope="module")
def rtl() -> RtlSimulator:
    return RtlSimulator(ISA, max_cycles=200_000, check_programs=False)


@pytest.mark.parametrize("program", [COPY, MULTIPLY], ids=["copy", "multiply"])
def test_equals_functional(rtl: RtlSimulator, program: Sequence[Written], rng: np.random.Generator) -> None:
    dram = memory(ISA, program, rng)
    reference = expected(ISA, dram, len(program))
    before = dram.copy()
    first = rtl.launch(dram, DATA_BYTES, len(program))
    assert np.array_equal(dram, reference)
    assert not np.array_equal(dram, before)
    second = rtl.launch(before, DATA_BYTES, len(program))
    assert first.counters == second.counters, "the same cycles and events twice"


def serialised(isa: InstructionSet, python_random: random.Random, count: int) -> list[Written]:
    """Draw a random program in which every instruction waits for the one before it."""
    drawn = [random_instruction(isa, python_random, Limits(steps=24, dram_bytes=DATA_BYTES)) for _ in range(count)]
    program = [(d.instruction, {**d.values, "wait": 0, "signal": 0}) for d in drawn]
    for (earlier, gives), (later, takes) in itertools.pairwise(program):
        if earlier.engine is not later.engine:
            gives["signal"] = 1 << earlier.engine.others.index(later.engine)
            takes["wait"] = 1 << later.engine.others.index(earlier.engine)
        elif later.engine is Engine.COMPUTE:
            takes["fence"] = 1
    return [(instruction.name, values) for instruction, values in program]


@pytest.mark.parametrize("stalls", [Stalls(), Stalls(0.3, seed=5)], ids=["calm", "stalls"])
def test_random_programs_equal_functional(
    stalls: Stalls, python_random: random.Random, rng: np.random.Generator
) -> None:
    for _ in range(5):
        program = serialised(ISA, python_random, 60)
        dram = memory(ISA, program, rng)
        reference = expected(ISA, dram, len(program))
        result = RtlSimulator(ISA, stalls=stalls, max_cycles=200_000).launch(dram, DATA_BYTES, len(program))
        assert np.array_equal(dram, reference)
        assert result.trace is not None
        assert (result.trace.end >= result.trace.start).all()
        assert result.cycles is not None and result.trace.end.max() <= result.cycles


def test_timing_settings_change_cycles(rng: np.random.Generator) -> None:
    dram = memory(ISA, COPY, rng)

    def cycles(**timing: int) -> int:
        result = RtlSimulator(ISA, dram=DramTiming(**timing)).launch(dram.copy(), DATA_BYTES, len(COPY))
        assert result.cycles is not None
        return result.cycles

    base = cycles(latency_cycles=20, bytes_per_cycle=8)
    assert cycles(latency_cycles=21, bytes_per_cycle=8) == base + 3, "the latency of fetch, load and store in a row"
    assert cycles(latency_cycles=20, bytes_per_cycle=16) == base, "the bus is the narrower one"
    beats = 64 * ISA.config.row_bytes // ISA.config.bus_bytes
    assert cycles(latency_cycles=20, bytes_per_cycle=1) > 2 * ISA.config.bus_bytes * (beats - 1) > base


def test_counters_count(rtl: RtlSimulator, rng: np.random.Generator) -> None:
    counters = rtl.launch(memory(ISA, MULTIPLY, rng), DATA_BYTES, len(MULTIPLY)).counters
    assert counters["gemm_steps"] == 8 * 4
    assert counters["compute_busy"] == 8 * 4
    assert counters["write_beats"] == 8 * ISA.config.row_bytes // ISA.config.bus_bytes
    fetched = len(MULTIPLY) * ISA.instruction_bytes
    loaded = 32 * ISA.config.row_bytes + 4 * ISA.config.wgt_entry_bytes + ISA.config.prm_entry_bytes
    assert counters["read_beats"] * ISA.config.bus_bytes == fetched + loaded


def test_deadlock_names_the_missing_token(rtl: RtlSimulator, rng: np.random.Generator) -> None:
    program = [COPY[0], ("STORE_ACT", {**COPY[1][1], "wait": 2})]
    with pytest.raises(DeviceError, match=r"deadlock: .*STORE_ACT #1 waits for a token from compute"):
        rtl.launch(memory(ISA, program, rng), DATA_BYTES, 2)
    dram = memory(ISA, COPY, rng)
    rtl.launch(dram, DATA_BYTES, 2)
    assert np.array_equal(dram[OUTPUT : OUTPUT + 256], dram[INPUT : INPUT + 256]), "the next launch works"


def test_reading_behind_the_memory_stops(rtl: RtlSimulator, rng: np.random.Generator) -> None:
    program = [("LOAD_ACT", {**COPY[0][1], "dram_base": 1 << 20, "signal": 0})]
    with pytest.raises(DeviceError, match=r"read response: 0x100000 lies behind the end of the memory"):
        rtl.launch(memory(ISA, program, rng), DATA_BYTES, 1)


def test_illegal_instruction_stops(rtl: RtlSimulator, rng: np.random.Generator) -> None:
    dram = memory(ISA, COPY, rng)
    dram[DATA_BYTES + ISA.instruction_bytes] = 63
    with pytest.raises(DeviceError, match=r"illegal instruction: opcode 63 #1"):
        rtl.launch(dram, DATA_BYTES, 2)


def test_state_can_be_looked_at_after_so_many_cycles(rng: np.random.Generator) -> None:
    """At a cycle's end: queues, tokens and what has been written, by the times of the instructions."""
    dram = memory(ISA, MULTIPLY, rng)
    whole = RtlSimulator(ISA)
    trace = whole.launch(dram.copy(), DATA_BYTES, len(MULTIPLY)).trace
    assert trace is not None
    assert set(whole.queues.values()) == {0} and set(whole.tokens.values()) == {0}
    begin, end = int(trace.start[3]), int(trace.end[3])  # of GEMM
    stopped = RtlSimulator(ISA, max_cycles=begin - 1)
    with pytest.raises(DeviceError, match="GEMM #3 has not started|GEMM #3 waits"):
        stopped.launch(dram.copy(), DATA_BYTES, len(MULTIPLY))
    assert stopped.queues[Engine.COMPUTE] == 1
    assert not stopped.state["act"][64:72].any(), "nothing has been computed"
    stopped = RtlSimulator(ISA, max_cycles=end + 1)
    with pytest.raises(DeviceError, match="has not ended"):
        stopped.launch(dram.copy(), DATA_BYTES, len(MULTIPLY))
    assert np.array_equal(stopped.state["act"][64:72], whole.state["act"][64:72])
    assert stopped.state["act"][64:72].any()


def test_tokens_that_nobody_takes_can_be_seen(rng: np.random.Generator) -> None:
    gives = ("LOAD_ACT", {**COPY[0][1], "signal": 3})
    rtl = RtlSimulator(ISA)
    rtl.launch(memory(ISA, [gives, gives], rng), DATA_BYTES, 2)
    given = {(Engine.LOAD, Engine.COMPUTE): 2, (Engine.LOAD, Engine.STORE): 2}
    assert rtl.tokens == {pair: given.get(pair, 0) for pair in rtl.tokens} and len(rtl.tokens) == 6
