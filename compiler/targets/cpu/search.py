"""The search for schedules: networks with other schedules run beside the one of the model, launch by launch.

A round compiles the network with one candidate for each problem, and lets it and the network of the model take turns,
so that every candidate is measured where it will run: with the caches as the layer before leaves them. What seems
faster is measured again, more often, and must win by more than noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.cpu.jit import LoadedSegment, NativeMachine
from tilewright.compiler.targets.cpu.program import CpuProgram, Segment
from tilewright.compiler.targets.cpu.saved_program import NativeProgram
from tilewright.compiler.targets.cpu.schedule import Schedule
from tilewright.compiler.targets.cpu.schedules import Chooser, Problem, by_model, by_table, is_possible, key, proposal
from tilewright.compiler.targets.segmented import SegmentedProgram

#: Lowers a network with schedules.
Lower = Callable[[Chooser], CpuProgram]

#: What was tried for each problem: the time beside the model's choice.
Trials = Mapping[str, Mapping[Schedule, float]]

#: Turns of a first measurement, and of the one that decides.
_FIRST_TURNS, _LAST_TURNS = 11, 31

#: A launch runs until it has done so much, some ten microseconds, but not more often.
_WORK, _MOST_REPEATS = 1 << 20, 16

#: A winner takes at most so much of the time of the model's choice, and is faster in three turns of four.
_MARGIN = 0.985


@dataclass(frozen=True, eq=False)
class Step:
    """A launch in memory.

    Attributes
    ----------
    segment : LoadedSegment
    number : int
    problem : str
        Its key, empty where there is nothing to choose.
    schedule : Schedule, optional
    repeats : int
        How often it runs in a turn, so that calling it takes little beside it.
    """

    segment: LoadedSegment
    number: int
    problem: str
    schedule: Schedule | None
    repeats: int


#: Runs a launch and gives the seconds that it took.
Timer = Callable[[Step], float]


def processor_seconds(step: Step) -> float:
    """Run a launch and give the seconds of the processor that it took."""
    start = time.thread_time()
    for _ in range(step.repeats):
        step.segment.launch(step.number)
    return (time.thread_time() - start) / step.repeats


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes
    ----------
    chosen : dict of str to Schedule
        For each problem of the network.
    ratios : dict of str to float
        Their times beside the model's choices, 1 where that is chosen.
    seconds, model_seconds : float
        Of all launches with these schedules, by the ratio of turns, and with the model's.
    """

    chosen: Mapping[str, Schedule]
    ratios: Mapping[str, float]
    seconds: float
    model_seconds: float


@dataclass(frozen=True)
class Search:
    """A search on one network.

    Attributes
    ----------
    lower : callable
    inputs : dict of str to array
        That it is measured with.
    timer : callable
    """

    lower: Lower
    inputs: Mapping[str, Array]
    timer: Timer = processor_seconds

    def problems(self) -> dict[str, Problem]:
        """Give the problems of the network by their keys."""
        found: dict[str, Problem] = {}

        def choose(problem: Problem) -> Schedule:
            found.setdefault(key(problem), problem)
            return by_model(problem)

        self.lower(choose)
        return found

    def load(self, chosen: Mapping[str, Schedule]) -> list[Step]:
        """Compile the network with schedules, run it once, and give its launches."""
        program, machine = self.lower(by_table(chosen)), NativeMachine()
        steps = tuple(machine.compile(step) if isinstance(step, Segment) else step for step in program.steps)
        native: NativeProgram = SegmentedProgram(program.graph, steps)
        native.run(self.inputs, machine)
        return [
            step
            for segment, compiled in zip(program.segments, native.segments, strict=True)
            for step in _steps(machine.load(compiled), segment)
        ]

    def first_times(self, base: list[Step], chosen: Mapping[str, Schedule]) -> dict[str, float]:
        """Measure candidates beside the model's choices, which `base` has: the median of the times' ratios."""
        turns = self._turns(base, self.load(chosen), _FIRST_TURNS)
        return {name: median(ratios) for name, ratios in _ratios(turns).items() if name in chosen}

    def confirm(self, base: list[Step], chosen: Mapping[str, Schedule]) -> Found:
        """Measure candidates again, and choose those that win; the model's choices where they do not.

        Where all together are not faster than the model's choices, these are chosen.
        """
        turns = self._turns(base, self.load(chosen), _LAST_TURNS)
        ratios = _ratios(turns)
        winners = {name: schedule for name, schedule in chosen.items() if _is_faster(ratios[name])}
        if winners != chosen:
            turns = self._turns(base, self.load(winners), _LAST_TURNS)
            ratios = _ratios(turns)
        totals = [(sum(before.values()), sum(after.values())) for before, after in turns]
        model_seconds = median(before for before, _ in totals)
        share = median(after / before for before, after in totals)
        if not winners or share >= 1:
            winners, share = {}, 1.0
        own = {step.problem: step.schedule for step in base if step.schedule is not None}
        shares = {name: median(ratios[name]) if name in winners else 1.0 for name in own}
        return Found({**own, **winners}, shares, model_seconds * share, model_seconds)

    def _turns(
        self, base: list[Step], other: list[Step], count: int
    ) -> list[tuple[dict[str, float], dict[str, float]]]:
        """Let two networks take turns, each first as often as second."""
        found = []
        for turn in range(count):
            if turn % 2:
                after = self._turn(other)
                found.append((self._turn(base), after))
            else:
                before = self._turn(base)
                found.append((before, self._turn(other)))
        return found

    def _turn(self, steps: list[Step]) -> dict[str, float]:
        """Run all launches of a network; give the seconds that each problem's took together."""
        found: dict[str, float] = {}
        for step in steps:
            found[step.problem] = found.get(step.problem, 0.0) + self.timer(step)
        return found


def _steps(loaded: LoadedSegment, segment: Segment) -> list[Step]:
    found = []
    for number, launch in enumerate(segment.launches):
        source = segment.source(launch)
        name, schedule = (key(source), source.schedule) if isinstance(source, Problem) else ("", None)
        repeats = min(max(1, _WORK // max(1, launch.work)), _MOST_REPEATS)
        found.append(Step(loaded, number, name, schedule, repeats))
    return found


def _ratios(turns: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, list[float]]:
    return {name: [after[name] / max(before[name], 1e-9) for before, after in turns] for name in turns[0][0]}


def _is_faster(ratios: list[float]) -> bool:
    ordered = sorted(ratios)
    return median(ordered) < _MARGIN and ordered[len(ordered) * 3 // 4] < 1


def next_round(problems: Mapping[str, Problem], trials: Trials) -> dict[str, Schedule]:
    """Give a candidate for each problem that has any left."""
    found = {name: proposal(problem, trials.get(name, {})) for name, problem in problems.items()}
    return {name: schedule for name, schedule in found.items() if schedule is not None}


def finalists(problems: Mapping[str, Problem], trials: Trials) -> dict[str, Schedule]:
    """Give what seemed faster than the model's choice, the fastest for each problem."""
    found = {}
    for name, problem in problems.items():
        tried = {s: ratio for s, ratio in trials.get(name, {}).items() if is_possible(problem, s)}
        best = min(tried, key=lambda schedule: tried[schedule], default=None)
        if best is not None and tried[best] < 1:
            found[name] = best
    return found
