"""Counts which lines of the generated Verilog are executed, and which bits change, by tests of the whole RTL.

    python -m tests.coverage.rtl --configs rows 8x8 --programs 9 --json coverage.json

On each configuration: random programs, calm and under stalls; on `rows`, of which the tests of faults are, those too,
and what else `tests.mutation.campaign` asks in a calm memory. A line is a statement that Verilator counts, or a branch;
a bit has two toggles, up and down. Instances of a module are one: what one of them does, counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from tests.mutation.campaign import directed_tests, seed_of
from tests.sim import test_faults
from tests.sim.random_runs import RANDOM_CONFIGS, stalls_of
from tests.sim.test_random_programs import SAMPLE_INSTRUCTIONS
from tests.sim.timing_configs import TIMING_DRAMS
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.cross_check import CrossCheck
from tilewright.sim.random_programs import corner_program
from tilewright.sim.rtl import RtlSimulator
from tilewright.sim.rtl.build import BuildOptions, build
from tilewright.sim.rtl.cache import Cache, user_cache
from tilewright.sim.rtl.design_text import design_text
from tilewright.sim.rtl.library import Model

TOP = "accelerator"
#: The configuration of the tests of faults.
FAULTS = "rows"

_KEY = re.compile("\x01(?P<key>[^\x02]+)\x02(?P<value>[^\x01]*)")

#: Module, line of the Verilog, what Verilator says of it.
Point = tuple[str, int, str]


@dataclass
class Counts:
    """How often each point of one build was met, by kind: `line` (with branches) and `toggle`."""

    places: list[tuple[str, Point]] = field(default_factory=list)
    totals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, text: str) -> None:
        """Add what a model of the build wrote; each has all points, in the same order."""
        rows = [line for line in text.splitlines() if line.startswith("C ")]
        if not self.places:
            self.places = [_place(row) for row in rows]
            self.totals = np.zeros(len(rows), np.int64)
        self.totals += np.array([row.rpartition(" ")[2] for row in rows]).astype(np.int64)

    @cached_property
    def points(self) -> dict[str, Counter[Point]]:
        """Counts by kind and point; instances of a module are one."""
        found: dict[str, Counter[Point]] = {"line": Counter(), "toggle": Counter()}
        for (kind, point), count in zip(self.places, self.totals.tolist(), strict=True):
            found[kind][point] += count
        return found

    def share(self, kind: str) -> tuple[int, int]:
        """Return how many points of a kind were met, and how many there are."""
        points = self.points[kind]
        return sum(count > 0 for count in points.values()), len(points)

    def missed(self, kind: str) -> list[Point]:
        return sorted(point for point, count in self.points[kind].items() if not count)

    def by_module(self, kind: str) -> dict[str, tuple[int, int]]:
        met: Counter[str] = Counter()
        all_: Counter[str] = Counter()
        for (module, _, _), count in self.points[kind].items():
            all_[_plain(module)] += 1
            met[_plain(module)] += count > 0
        return {module: (met[module], all_[module]) for module in sorted(all_)}


def _plain(module: str) -> str:
    """Name a module as Amaranth does."""
    return (
        re.sub(r"__0?(\d\d|[0-9A-F]{2})", lambda m: chr(int(m[1], 16)), module)
        .removeprefix(f"{TOP}.")
        .removeprefix("\\")
    )


def _place(row: str) -> tuple[str, Point]:
    """Take kind and point from a row that Verilator wrote."""
    keys = {m["key"]: m["value"] for m in _KEY.finditer(row.partition("'")[2].rpartition("'")[0])}
    kind, _, module = keys["page"].removeprefix("v_").partition("/")
    said = f"{keys.get('o', '')} {keys.get('S', '')}".strip()
    return "toggle" if kind == "toggle" else "line", (module, int(keys["l"]), said)


@contextmanager
def counted(library: Path, counts: Counts) -> Iterator[None]:
    """All models that are made are of this build; what they count is added when they are freed."""

    class Counted(Model):
        def __init__(self, path: Path, threads: int = 1) -> None:
            super().__init__(library, threads)

        def close(self) -> None:
            if self._handle is not None:
                with tempfile.NamedTemporaryFile(suffix=".dat") as file:
                    self.write_coverage(Path(file.name))
                    counts.add(Path(file.name).read_text())
            super().close()

    with (
        patch.object(test_faults, "Model", Counted),
        patch.object(test_faults, "library", lambda: str(library)),
        patch("tilewright.sim.rtl.model.Model", Counted),
    ):
        yield


def measure(name: str, programs: int, *, directed: bool) -> Counts:
    """Return what programs, and the tests of what goes wrong, meet on a configuration."""
    isa = instruction_set(config_of(name))
    cache = Cache(user_cache() / "rtl")
    text = design_text(isa, TOP, cache)
    library = build(text, TOP, BuildOptions(coverage=True), cache)
    counts = Counts()
    with counted(library, counts):
        run_programs(isa, name, programs, text)
        for test, run in directed_tests() if directed else ():
            if "stormy" not in test:  # what is asked in a calm memory is enough
                run()
        gc.collect()  # models that are left
    return counts


def config_of(name: str) -> Config:
    return RANDOM_CONFIGS.get(name) or PRESETS[name]


def run_programs(isa: InstructionSet, name: str, programs: int, text: str) -> None:
    """Run random programs, each in a memory of its own and again under stalls."""

    def make(isa: InstructionSet, timing: Any, stalls: Any) -> RtlSimulator:
        return RtlSimulator(isa, timing, stalls=stalls, verilog=text)

    checks = [CrossCheck(isa, timing, stalls_of(kind), make) for kind, timing in enumerate(TIMING_DRAMS)]
    first = seed_of(f"test_simulators_agree_on_a_sample[{name}]")
    for seed in range(first, first + programs):
        mismatch = checks[seed // 7 % len(checks)].compare(corner_program(isa, seed, SAMPLE_INSTRUCTIONS))
        assert mismatch is None, mismatch.report


def report(counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Return shares by configuration, by module, and what was missed."""
    return {
        name: {
            kind: {
                "share": found.share(kind),
                "modules": found.by_module(kind),
                "missed": found.missed(kind) if kind == "line" else len(found.missed(kind)),
            }
            for kind in ("line", "toggle")
        }
        for name, found in counts.items()
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", nargs="+", default=[FAULTS, "interval2", "8x8"])
    parser.add_argument("--programs", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    counts = {name: measure(name, options.programs, directed=name == FAULTS) for name in options.configs}
    for name, found in counts.items():
        for kind in ("line", "toggle"):
            met, total = found.share(kind)
            print(f"{name}: {kind} {met} of {total}, {met / max(total, 1):.1%}")
    if options.json:
        options.json.write_text(json.dumps(report(counts), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
