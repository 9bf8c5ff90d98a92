"""Plants faults in the RTL and sees which of them the tests notice.

    python -m tests.mutation.campaign --count 150 --json survivors.json

What is asked of each fault is what CI's tests of the whole RTL ask: random programs equal the other simulators, and
what goes wrong on the device ends in its status.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.mutation.verilog_mutants import CHOICE, Mutant, chosen, planted
from tests.sim import test_faults
from tests.sim.random_runs import stalls_of
from tests.sim.test_random_programs import SAMPLE_INSTRUCTIONS, SAMPLE_PROGRAMS
from tests.sim.timing_configs import TIMING_DRAMS
from tilewright.isa.errors import TilewrightError
from tilewright.isa.instructions import InstructionSet
from tilewright.sim.api import DramTiming
from tilewright.sim.cross_check import CrossCheck
from tilewright.sim.random_programs import corner_program
from tilewright.sim.rtl import RtlSimulator, Stalls
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import Model

TOP = "accelerator"
MAX_CYCLES = 100_000


def choose(model: Model, number: int) -> None:
    """Let a model have the fault of this number."""
    words, word_bytes = ctypes.c_uint64(), ctypes.c_uint64()
    library: Any = model._library
    place = library.tilewright_memory(
        model._handle, f"{TOP}.{CHOICE}".encode(), ctypes.byref(words), ctypes.byref(word_bytes)
    )
    assert place and word_bytes.value == 2, "the text has no register that chooses faults"
    ctypes.cast(place, ctypes.POINTER(ctypes.c_uint16))[0] = number


class Faulty(RtlSimulator):
    """The RTL simulator with a fault."""

    number = 0

    def reset(self) -> None:
        super().reset()
        choose(self._model, self.number)


class Campaign:
    """All faults in one build, and the tests.

    Parameters
    ----------
    isa : InstructionSet
    faults : sequence of Mutant
    text : str
        The Verilog with them.
    """

    def __init__(self, isa: InstructionSet, faults: Sequence[Mutant], text: str) -> None:
        self.isa, self.faults = isa, faults
        self._simulators: list[Faulty] = []
        self._library = build(text, TOP, BuildOptions(), Cache(user_cache() / "rtl"))

        def make(isa: InstructionSet, timing: DramTiming, stalls: Stalls) -> RtlSimulator:
            simulator = Faulty(isa, timing, stalls=stalls, max_cycles=MAX_CYCLES, verilog=text)
            self._simulators.append(simulator)
            return simulator

        self._checks = [CrossCheck(isa, timing, stalls_of(kind), make) for kind, timing in enumerate(TIMING_DRAMS)]
        self._programs = [corner_program(isa, seed, SAMPLE_INSTRUCTIONS) for seed in range(SAMPLE_PROGRAMS)]

    def noticed_by_programs(self, number: int) -> str:
        """Return which random program notices a fault and how; empty when none does."""
        for simulator in self._simulators:
            simulator.number = number
        for program in self._programs:
            mismatch = self._checks[program.seed % len(self._checks)].compare(program)
            if mismatch is not None:
                return f"random program {program.seed}: {mismatch.report.splitlines()[0]}"
        return ""

    def noticed_by_faults(self, number: int) -> str:
        """Return which test of what goes wrong notices a fault and how; empty when none does."""

        def model(path: Path) -> Model:
            made = Model(path)
            choose(made, number)
            return made

        moments = [(t, m) for m in test_faults.MOST_CYCLES for t in test_faults.MOMENTS]
        tests: list[tuple[str, Callable[[], None]]] = [
            *((f"reset after {t}", _of(test_faults.test_a_reset_in_the_middle_abandons_the_run, t, m))
              for t, m in moments),
            *((f"start after {t}", _of(test_faults.test_a_start_while_busy_stops_the_run, t, m)) for t, m in moments),
            *((f"{name}, {m}", _of(test_faults.test_a_fault_ends_in_its_status_and_the_next_run_works, name, m))
              for m in test_faults.MOST_CYCLES for name in test_faults.FAULTS),
        ]  # fmt: skip
        library = str(self._library)
        with patch.object(test_faults, "library", lambda: library), patch.object(test_faults, "Model", model):
            for name, test in tests:
                try:
                    test()
                except (AssertionError, TilewrightError) as error:
                    return f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        return ""


def _of(test: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: test(*arguments)


def campaign(count: int, seed: int) -> Campaign:
    """Return a campaign on the configuration of the tests of faults, which has all instructions."""
    isa = test_faults.ISA
    text = design_text(isa, TOP, Cache(user_cache() / "rtl"))
    faults = chosen(text, count, seed)
    return Campaign(isa, faults, planted(text, faults, TOP))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    made = campaign(options.count, options.seed)
    wrong = made.noticed_by_programs(0)
    assert not wrong, f"the tests fail without a fault: {wrong}"
    found: dict[int, str] = {}
    for test in (made.noticed_by_programs, made.noticed_by_faults):  # the quick ones first
        for fault in made.faults:
            if not found.get(fault.number):
                found[fault.number] = test(fault.number)
                said = found[fault.number][:90] or f"not noticed: {fault.before}"
                print(f"{fault.number:4} {fault.kind:10} {fault.module:45} {said}", flush=True)
        _report(made.faults, found, options.json)
    return 0


def _report(faults: Sequence[Mutant], found: Mapping[int, str], path: Path | None) -> None:
    killed = Counter(f.kind for f in faults if found[f.number])
    kinds = Counter(f.kind for f in faults)
    print(", ".join(f"{kind} {killed[kind]} of {n}" for kind, n in sorted(kinds.items())))
    print(f"{sum(killed.values())} of {len(faults)} noticed, {sum(killed.values()) / len(faults):.1%}", flush=True)
    if path:
        results = [{**asdict(f), "noticed": found[f.number]} for f in faults]
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
