"""Plants faults in the RTL and sees which of them the tests notice, and which test is the first.

    python -m tests.mutation.campaign --count 150 --json campaign.json

What is asked of each fault is what CI's fast tests ask of the whole RTL, on the configuration of the tests of faults,
which has all instructions: random programs on all simulators, crowds of instructions of one sort, random programs after
a run that was stopped, and the faults on the device. All faults are in one build; tests are asked in the order of what
they cost, and the first that fails ends it. What no test notices is asked for a proof that it is no fault at all
(`equivalence.py`); what is proved so does not count, and another fault takes its place.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.mutation.equivalence import Answer, proof
from tests.mutation.hierarchy import Hierarchy
from tests.mutation.verilog_mutants import CHOICE, Mutant, chosen, planted
from tests.sim import test_crowds, test_faults, test_stopped_crowds, test_stopped_runs
from tests.sim.random_runs import stalls_of
from tests.sim.test_random_programs import SAMPLE_INSTRUCTIONS, SAMPLE_PROGRAMS
from tests.sim.timing_configs import TIMING_DRAMS
from tilewright.isa.errors import TilewrightError
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.sim.api import DramTiming
from tilewright.sim.cross_check import CrossCheck
from tilewright.sim.fast import FastSimulator
from tilewright.sim.random_programs import RandomProgram, corner_program
from tilewright.sim.rtl import RtlSimulator, Stalls
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import FaultChannel, Model

TOP = "accelerator"
#: Of a run; the longest program takes half of it.
MAX_CYCLES = 300_000
#: One in so many faults is more than was asked for, in the stead of one that is proved to be none.
SPARE = 5

#: A test and its name.
Test = tuple[str, Callable[[], None]]


def choose(model: Model, number: int) -> None:
    """Let a model have the fault of this number."""
    words, word_bytes = ctypes.c_uint64(), ctypes.c_uint64()
    library: Any = model._library
    place = library.tilewright_memory(
        model._handle, f"{TOP}.{CHOICE}".encode(), ctypes.byref(words), ctypes.byref(word_bytes)
    )
    assert place and word_bytes.value == 2, "the text has no register that chooses faults"
    ctypes.cast(place, ctypes.POINTER(ctypes.c_uint16))[0] = number


class Campaign:
    """All faults in one build, and the tests.

    Parameters
    ----------
    isa : InstructionSet
    faults : sequence of Mutant
    text : str
        The Verilog with them.
    design : Hierarchy
        Without them.
    """

    def __init__(self, isa: InstructionSet, faults: Sequence[Mutant], text: str, design: Hierarchy) -> None:
        self.isa, self.faults, self.design = isa, faults, design
        self._number = 0
        self._library = build(text, TOP, BuildOptions(), Cache(user_cache() / "rtl"))

        def make(isa: InstructionSet, timing: DramTiming, stalls: Stalls) -> RtlSimulator:
            return RtlSimulator(isa, timing, stalls=stalls, max_cycles=MAX_CYCLES, verilog=text)

        with self._planted():
            self._checks = [CrossCheck(isa, timing, stalls_of(kind), make) for kind, timing in enumerate(TIMING_DRAMS)]
        first = seed_of("test_simulators_agree_on_a_sample[rows]")
        programs = [corner_program(isa, seed, SAMPLE_INSTRUCTIONS) for seed in range(first, first + SAMPLE_PROGRAMS)]
        fast = FastSimulator(isa, compute_results=False)
        programs.sort(key=lambda p: fast.launch(p.dram, p.offset, p.count).counters["cycles"])
        self.tests: Sequence[Test] = [
            *((f"random program {p.seed - first}", partial(self._agrees, p)) for p in programs),
            *directed_tests(),
        ]

    def noticed(self, number: int) -> str:
        """Return which test notices a fault and how; empty when none does."""
        self._number = number
        with self._planted():
            for name, test in self.tests:
                try:
                    test()
                except (AssertionError, TilewrightError) as error:
                    said = str(error).splitlines() or [type(error).__name__]
                    return f"{name}: {said[0]}"
        return ""

    def outcome(self, fault: Mutant) -> Outcome:
        """Ask the tests about a fault, and for a proof that it is none where no test notices it."""
        noticed = self.noticed(fault.number)
        return Outcome(fault, noticed) if noticed else Outcome(fault, "", proof(self.design, fault))

    @contextmanager
    def _planted(self) -> Iterator[None]:
        """All models that are made are of our build and have the fault."""

        def model(path: Path, threads: int = 1) -> Model:
            made = Model(self._library, threads)
            choose(made, self._number)
            return made

        with (
            patch.object(test_faults, "Model", model),
            patch.object(test_faults, "library", lambda: str(self._library)),
            patch("tilewright.sim.rtl.model.Model", model),
            patch("tilewright.sim.cross_check.MAX_CYCLES", MAX_CYCLES),
        ):
            yield

    def _agrees(self, program: RandomProgram) -> None:
        mismatch = self._checks[program.seed // 7 % len(self._checks)].compare(program)
        assert mismatch is None, mismatch.report


def seed_of(test: str) -> int:
    """Return the seed that a test has in CI."""
    return zlib.crc32(test.encode())


def as_in_ci(test: Callable[..., None], *arguments: object) -> Test:
    """Return a seeded, parametrised test with the seed that it has in CI."""
    name = test.__name__ + (f"[{'-'.join(map(str, arguments))}]" if arguments else "")
    return name.removeprefix("test_"), partial(test, *arguments, seed_of(name))


def directed_tests() -> list[Test]:
    """Return the tests of what goes wrong on the device, the quick ones first."""
    memories = tuple(test_faults.MOST_CYCLES)
    moments = [(moment, memory) for memory in memories for moment in test_faults.MOMENTS]
    behind = test_crowds.test_many_that_do_nothing_behind_one_that_takes_long
    after = test_stopped_runs.test_a_random_program_after_one_that_was_stopped
    fault = test_faults.test_a_fault_ends_in_its_status_and_the_next_run_works
    return [
        ("registers", test_stopped_runs.test_registers_after_a_reset_of_the_hardware),
        *(as_in_ci(test_crowds.test_a_crowd, name) for name in test_crowds.CROWDS),
        *(as_in_ci(test_crowds.test_small_numbers, shift) for shift in range(4)),
        *(as_in_ci(test_crowds.test_short_programs, count) for count in (1, 2, 4, 5, 9)),
        *(as_in_ci(behind, engine) for engine in (Engine.LOAD, Engine.STORE)),
        *(as_in_ci(test_crowds.test_many_that_signal, engine) for engine in (Engine.LOAD, Engine.STORE)),
        *(as_in_ci(test_crowds.test_addresses_wrap, number) for number in range(6)),
        *((f"tokens from {g} to {t}", partial(test_crowds.test_more_tokens_than_a_counter_should_hold, g, t, 1))
          for g, t in test_crowds.PAIRS),
        *((f"longest {loop} of {name}", partial(test_crowds.test_the_longest_loops, loop, name, 1))
          for name in ("LOAD_ACT", "STORE_ACT") for loop in ("extent_run", "extent0", "extent1", "extent2")),
        *((f"longest {loop} of {name}", partial(test_crowds.test_the_longest_sums_and_walks, name, loop, 1))
          for name in ("GEMM", "VECTOR", "ROW") for loop in test_crowds.LOOPS),
        ("longest windows", partial(test_crowds.test_the_longest_windows, 1)),
        *(as_in_ci(test_crowds.test_boxes_wait_in_full_queues, name) for name in ("LOAD_ACT", "STORE_ACT")),
        *((f"largest box {d[1]}", partial(test_crowds.test_the_largest_boxes, d, 1)) for d in test_crowds.DIRECTIONS),
        *((f"box {more} larger, {d[1]}", partial(
            test_crowds.test_boxes_a_little_larger_than_a_power_of_two, more, d, 1))
          for more in (1, 2) for d in test_crowds.DIRECTIONS),
        as_in_ci(test_crowds.test_rows_right_behind_others),
        as_in_ci(test_crowds.test_a_sum_of_squares_with_all_its_bits),
        ("logarithms", partial(test_crowds.test_logarithms_of_sums_of_every_size, 1)),
        *(as_in_ci(test_crowds.test_an_instruction_that_takes_long_is_abandoned, engine) for engine in Engine),
        ("status", test_stopped_crowds.test_nothing_is_left_of_what_was_done),
        *(as_in_ci(test_stopped_crowds.test_engines_work_after_a_crowd_was_stopped, name, way)
          for name in test_stopped_crowds.FULL for way in test_stopped_crowds.WAYS),
        ("reset with a response", partial(
            test_stopped_runs.test_a_reset_of_the_hardware_while_a_store_is_answered,
            seed_of("test_a_reset_of_the_hardware_while_a_store_is_answered"))),
        ("no address outlives a reset", partial(
            test_stopped_runs.test_no_address_outlives_a_reset_of_the_hardware,
            seed_of("test_no_address_outlives_a_reset_of_the_hardware"))),
        *((f"nothing after a reset in {moments}", partial(
            test_stopped_runs.test_nothing_is_asked_for_after_a_reset_of_the_hardware, moments))
          for moments in (range(4, 13), range(0, 6000, 60))),
        *(as_in_ci(after, way, memory) for memory in memories for way in test_stopped_runs.WAYS),
        *((f"{name}, {memory}", partial(fault, name, memory)) for memory in memories for name in test_faults.FAULTS),
        *((f"reset after {t}, {m}", partial(test_faults.test_a_reset_in_the_middle_abandons_the_run, t, m))
          for t, m in moments),
        *((f"start after {t}, {m}", partial(test_faults.test_a_start_while_busy_stops_the_run, t, m))
          for t, m in moments),
        *((f"reset in {channel.name}'s error", partial(test_faults.test_a_reset_while_an_error_drains, channel))
          for channel in FaultChannel if channel),
        ("a standstill", test_faults.test_a_standstill_is_found_in_time),
        *((f"longest depthwise row {shape}", partial(test_faults.test_the_longest_depthwise_row_is_legal, shape))
          for shape in range(3)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes
    ----------
    fault : Mutant
    noticed : str
        The test that notices it, and how; empty when none does.
    proof : Answer
        Whether it is one, if no test notices it.
    """

    fault: Mutant
    noticed: str
    proof: Answer | None = None

    @property
    def is_equal(self) -> bool:
        """Whether it is proved to be none: the hardware does the same with it."""
        return self.proof is not None and self.proof.kind == "equal"

    def __str__(self) -> str:
        if self.proof is None:
            return self.noticed[:90]
        return f"EQUAL in {self.proof.module}" if self.is_equal else f"NOT NOTICED: {self.fault.before}"


def campaign(count: int, seed: int) -> Campaign:
    """Return a campaign on the configuration of the tests of faults, which has all instructions.

    It has more faults than are asked for: as many as will be proved to be none are asked in their stead.
    """
    isa = test_faults.ISA
    text = design_text(isa, TOP, Cache(user_cache() / "rtl"))
    faults = chosen(text, count + count // SPARE + 1, seed)
    return Campaign(isa, faults, planted(text, faults, TOP), Hierarchy(text, TOP))


def outcomes(made: Campaign, count: int, only: Collection[int] = ()) -> Iterator[Outcome]:
    """Yield what becomes of one fault after the other, until so many are faults indeed."""
    wrong = made.noticed(0)
    assert not wrong, f"the tests fail without a fault: {wrong}"
    for fault in made.faults:
        if count and (not only or fault.number in only):
            outcome = made.outcome(fault)
            yield outcome
            count -= not outcome.is_equal


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the faults to look at", default=())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found: list[Outcome] = []
    begin = time.process_time()
    for outcome in outcomes(campaign(options.count, options.seed), options.count, options.only):
        found.append(outcome)
        fault, took = outcome.fault, time.process_time() - begin
        print(f"{fault.number:4} {took:5.1f} s {fault.kind:10} {fault.module:42} {outcome}", flush=True)
        begin = time.process_time()
    _report(found, options.json)
    return 0


def _report(found: Sequence[Outcome], path: Path | None) -> None:
    asked = [o for o in found if not o.is_equal]
    noticed = [o for o in asked if o.noticed]
    killed, kinds = (Counter(o.fault.kind for o in some) for some in (noticed, asked))
    print(", ".join(f"{kind} {killed[kind]} of {n}" for kind, n in sorted(kinds.items())))
    print(Counter(o.noticed.partition(":")[0].rstrip("0123456789 ") for o in noticed).most_common())
    print(
        f"{len(noticed)} of {len(asked)} noticed, {len(noticed) / max(len(asked), 1):.1%}; "
        f"{len(found) - len(asked)} others proved to be none",
        flush=True,
    )
    if path:
        results = [
            {**asdict(o.fault), "noticed": o.noticed, "proof": o.proof.kind if o.proof else "", "is_equal": o.is_equal}
            for o in found
        ]
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
