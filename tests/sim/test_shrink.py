"""The shrinker on planted faults, the text of traces, and their replay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.sim.random_runs import shrunk, trace_of
from tilewright.cli import cli
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ProgramError, TilewrightError
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set
from tilewright.sim.api import DramTiming, LaunchResult
from tilewright.sim.cross_check import CrossCheck, Mismatch, check_trace
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.fast import FastSimulator
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sim.random_programs import RandomProgram, corner_program
from tilewright.sim.rtl import RtlSimulator, Stalls
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.state import kept_parameters
from tilewright.sim.shrink import shrink

ISA = instruction_set(PRESETS["tiny"])
CACHE = Cache(user_cache() / "rtl")
Values = Mapping[str, int]
Code = list[tuple[str, Values]]


@dataclass
class Faulty:
    """In the RTL's place: the fast simulator, with a fault.

    Attributes
    ----------
    wrong : Callable
        What instruction, given with the one before it of the same engine, spoils the accumulators.
    late : Callable
        What instruction takes a cycle more.
    """

    isa: InstructionSet
    timing: DramTiming
    wrong: Callable[[str, Values, tuple[str, Values] | None], bool] = lambda *_: False
    late: Callable[[str, Values], bool] = lambda *_: False
    tokens: dict[tuple[Engine, Engine], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fast = FastSimulator(self.isa, self.timing, compute_results=False)
        self._functional = FunctionalSimulator(self.isa)

    def reset(self) -> None:
        self._functional.reset()

    def launch(self, dram: np.ndarray, offset: int, count: int) -> LaunchResult:
        result = self._fast.launch(dram, offset, count)
        code = DecodedProgram.of(self.isa, dram, offset, count)
        self._functional.launch(dram, offset, count)
        written = [(i.name, values) for i, values in map(code.instruction, range(count))]
        before: dict[Engine, tuple[str, Values]] = {}
        for name, values in written:
            engine = self.isa.by_name[name].engine
            if self.wrong(name, values, before.get(engine)):
                self._functional.state["acc"][0, 0] ^= 1
            before[engine] = name, values
        self.tokens = self._tokens(written)
        if any(self.late(name, values) for name, values in written):
            result = replace(result, counters={**result.counters, "cycles": result.counters["cycles"] + 1})
        return result

    def _tokens(self, written: Code) -> dict[tuple[Engine, Engine], int]:
        tokens = {(giver, taker): 0 for giver in Engine for taker in giver.others}
        for name, values in written:
            engine = self.isa.by_name[name].engine
            for bit, other in enumerate(engine.others):
                tokens[engine, other] += values["signal"] >> bit & 1
                tokens[other, engine] -= values["wait"] >> bit & 1
        return tokens

    @property
    def state(self) -> Mapping[str, np.ndarray[Any, Any]]:
        state = self._functional.state
        return {**state, "prm": kept_parameters(self.isa.config, state["prm"])}


def maker(**fault: Callable[..., bool]) -> Callable[[InstructionSet, DramTiming, Stalls], Any]:
    return lambda isa, timing, stalls: Faulty(isa, timing, **fault)  # type: ignore[arg-type]


def first_failing(make: Callable[..., Any]) -> tuple[ProgramTrace, Mismatch]:
    """Return the first random program that fails, and how."""
    check = CrossCheck(ISA, DramTiming(), Stalls(), make)
    for seed in range(200):
        program = corner_program(ISA, seed, 40)
        mismatch = check.compare(program)
        if mismatch is not None:
            return replace(trace_of(ISA, program, 0), stalls=Stalls()), mismatch
    raise AssertionError("no random program shows the fault")


FAULTS: dict[str, tuple[dict[str, Callable[..., bool]], str, list[str]]] = {
    "one_instruction": (
        {"wrong": lambda name, v, _: name == "VECTOR" and v["op"] == 2 and v["extent_red1"] > 1}, "state", ["VECTOR"],
    ),
    "after_another": (
        {"wrong": lambda name, _, before: name == "LOAD_WGT" and bool(before) and before[0] == "LOAD_PRM"},
        "state", ["LOAD_PRM", "LOAD_WGT"],
    ),
    "late": ({"late": lambda name, v: name == "STORE_ACT" and v["extent_run"] > 3}, "time", ["STORE_ACT"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_program_becomes_the_instructions_that_fail(fault: str) -> None:
    planted, kind, expected = FAULTS[fault]
    make = maker(**planted)
    trace, mismatch = first_failing(make)
    assert mismatch.kind == kind
    small = shrunk(trace, kind, make)
    assert [name for name, _ in small.instructions] == expected
    again = check_trace(ProgramTrace.from_text(small.to_text()), make)
    assert again is not None and again.kind == kind


def test_operands_become_plain() -> None:
    make = maker(wrong=lambda name, v, _: name == "GEMM" and v["extent_out1"] >= 2 and v["clamp_low"] < 0)
    trace, mismatch = first_failing(make)
    small = shrunk(trace, mismatch.kind, make)
    ((_, values),) = small.instructions
    assert {name: value for name, value in values.items() if value} == {"extent_out1": 2, "clamp_low": -1}


def test_a_failure_that_hangs_on_the_tokens_is_kept_whole() -> None:
    trace = replace(trace_of(ISA, corner_program(ISA, 3, 20), 0), stalls=Stalls())
    kept = shrink(trace, lambda candidate: candidate.instructions == trace.instructions, most_runs=100)
    assert kept.instructions == trace.instructions


def test_text_gives_the_same_program() -> None:
    program = corner_program(ISA, 11, 60)
    trace = replace(trace_of(ISA, program, 2), note="a note\nof two lines")
    read = ProgramTrace.from_text(trace.to_text())
    assert read == trace
    again: RandomProgram = read.program()
    assert np.array_equal(again.dram, program.dram) and (again.offset, again.count) == (program.offset, program.count)


GOOD = ProgramTrace(ISA.config, (("LOAD_PRM", {"extent0": 1, "extent_run": 1}),), 5, 1024).to_text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 7", "`format` must be 1, not 7"),
        ("LOAD_PRM", "LOAD_NIL", "line 1: unknown instruction `LOAD_NIL`"),
        ("latency_cycles = 20", "latency_cycles = 0", "`latency_cycles` must be at least 1"),
        ("bytes = 1024", "bytes = -1", "`memory.bytes` must be in 0.."),
        ("bytes = 1024", "bites = 1024", "unknown key `bites` in memory"),
        ("probability = 0.0", "probability = 1.0", "probability of stalls"),
        ("probability = 0.0", 'probability = "x"', "`stalls.probability` cannot be 'x'"),
        ("block_in = 4", "block_in = 5", "`gemm.block_in`"),
        ("[memory]", "[memory", "not valid TOML"),
    ],
)
def test_a_wrong_trace_is_refused(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(TilewrightError) as caught:
        ProgramTrace.from_text(GOOD.replace(old, new, 1))
    assert words in str(caught.value)


def test_a_trace_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="cannot read the trace"):
        ProgramTrace.load(tmp_path / "nowhere.toml")


@pytest.mark.verilator
def test_a_fault_in_the_rtl_is_found_shrunk_and_replayed(tmp_path: Path) -> None:
    """What lies above the largest result is no longer cut off."""
    wrong, count = re.subn(r"(> \$signed\(clamp_high)", r"< $signed(clamp_high", design_text(ISA, "accelerator", CACHE))
    assert count

    def make(isa: InstructionSet, timing: DramTiming, stalls: Stalls) -> RtlSimulator:
        return RtlSimulator(isa, timing, stalls=stalls, verilog=wrong)

    trace, mismatch = first_failing(make)
    small = shrunk(trace, mismatch.kind, make)
    assert len(small.instructions) <= 3
    path = tmp_path / "small.toml"
    path.write_text(small.to_text())
    result = CliRunner().invoke(cli, ["replay", str(path), "--json", "-"], prog_name="tilewright")
    assert result.exit_code == 0, result.output
    assert "agree on all" in result.stderr
    data = json.loads(result.stdout)
    assert (data["agree"], data["instructions"], data["hash"]) == (True, len(small.instructions), ISA.config.hash)
