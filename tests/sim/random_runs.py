"""Runs random programs on all simulators; what fails is shrunk and kept as a trace."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.sim.timing_configs import TIMING_CONFIGS, TIMING_DRAMS
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.cross_check import CrossCheck, Mismatch, RtlMaker, check_trace, make_rtl, with_note
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sim.random_programs import RandomProgram, corner_program
from tilewright.sim.rtl import Stalls
from tilewright.sim.shrink import shrink

_TINY = PRESETS["tiny"]

#: What random programs run on: the configurations of the cycle counts' tests, and some that matter for results.
RANDOM_CONFIGS: dict[str, Config] = {
    **{name: config for name, config in TIMING_CONFIGS.items() if name not in ("8x8", "16x16")},
    "acc20": _TINY.with_values(gemm={"acc_bits": 20}, epilogue={"multiplier_bits": 8, "tables": 16}),
    "packed": _TINY.with_values(gemm={"cascade": 2, "packed": True}, depthwise={"enabled": False}),
}


def run_random_programs(name: str, seeds: Iterable[int], instructions: int, folder: Path) -> int:
    """Compare programs of so many instructions each; return how many instructions that were.

    Each program has its own memory: the seed chooses it, and the stalls.
    """
    isa = instruction_set(RANDOM_CONFIGS[name])
    checks: dict[int, CrossCheck] = {}
    count = 0
    for seed in seeds:
        kind = seed // 7 % len(TIMING_DRAMS)
        if kind not in checks:
            checks[kind] = CrossCheck(isa, TIMING_DRAMS[kind], stalls_of(kind))
        program = corner_program(isa, seed, instructions)
        mismatch = checks[kind].compare(program)
        if mismatch is not None:
            fail(trace_of(isa, program, kind), mismatch, folder / f"{name}_{seed}.toml")
        count += program.count
    return count


def stalls_of(kind: int) -> Stalls:
    rng = random.Random(kind)
    return Stalls(rng.choice((0.1, 0.4, 0.7)), kind + 1, rng.choice((0, 5, 60)), interleave=True)


def trace_of(isa: InstructionSet, program: RandomProgram, kind: int) -> ProgramTrace:
    code = DecodedProgram.of(isa, program.dram, program.offset, program.count)
    written = [code.instruction(i) for i in range(program.count)]
    instructions = tuple((instruction.name, values) for instruction, values in written)
    return ProgramTrace(isa.config, instructions, program.seed, program.offset, TIMING_DRAMS[kind], stalls_of(kind))


def shrunk(trace: ProgramTrace, kind: str, make: RtlMaker = make_rtl) -> ProgramTrace:
    """Return a smaller trace that differs in the same kind of way."""

    def fails(candidate: ProgramTrace) -> bool:
        found = check_trace(candidate, make)
        return found is not None and found.kind == kind

    return shrink(trace, fails)


def fail(trace: ProgramTrace, mismatch: Mismatch, path: Path) -> None:
    small = shrunk(trace, mismatch.kind)
    text = with_note(small, check_trace(small) or mismatch).to_text()
    path.write_text(text)
    pytest.fail(f"{mismatch.report}\n{len(small.instructions)} instructions do it, `tilewright replay {path}`:\n{text}")
