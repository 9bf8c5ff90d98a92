"""Stepping through a program, and finding where two simulators part, on a convolution and a matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.compiler.targets.accelerator.layer_driver import GraphBuilder, random_inputs
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Window
from tilewright.isa.assembly import format_instruction
from tilewright.isa.config import PRESETS
from tilewright.isa.footprint import footprint
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set
from tilewright.sim.api import DramTiming, InstructionTrace, LaunchResult, Simulator
from tilewright.sim.debugger import Debugger, DebuggerQuit
from tilewright.sim.difference import find_difference
from tilewright.sim.fast import FastSimulator
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.runner import RunResult, run
from tilewright.sim.trace.stream import Stream

ISA = instruction_set(PRESETS["tiny"])
Inputs = dict[str, NDArray[Any]]


@pytest.fixture
def subject(rng: np.random.Generator) -> tuple[Program, Inputs]:
    builder = GraphBuilder(rng)
    y = builder.conv(builder.input(1, 5, 6, 7), 9, Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)))
    graph = builder.graph(builder.matmul(builder.node("reshape", [y], {"shape": (1, 9 * 42)}), 6))
    return compile_model(graph, PRESETS["tiny"]), random_inputs(graph, rng)


@pytest.fixture
def tiled(rng: np.random.Generator) -> tuple[Program, Inputs]:
    """A convolution of several tiles, so that engines overlap."""
    builder = GraphBuilder(rng)
    y = builder.conv(builder.input(1, 16, 20, 20), 24, Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)))
    graph = builder.graph(y)
    return compile_model(graph, PRESETS["tiny"]), random_inputs(graph, rng)


def script(
    subject: tuple[Program, Inputs], *commands: str, timer: Simulator | None = None
) -> tuple[list[str], RunResult | None, FunctionalSimulator]:
    """Give what was shown, the result if the program ended, and the simulator."""
    program, inputs = subject
    shown: list[str] = []
    lines = iter(commands)
    simulator = FunctionalSimulator(ISA)
    try:
        result = run(program, inputs, Debugger(program, simulator, lambda: next(lines, None), shown.append, timer))
    except DebuggerQuit:
        return shown, None, simulator
    return shown, result, simulator


def streams(program: Program) -> list[Stream]:
    return [Stream.of(program, launch, ISA) for launch in program.launches]


def line(program: Program, number: int) -> str:
    """Give an instruction as the debugger shows it."""
    for launch, stream in zip(program.launches, streams(program), strict=True):
        if launch.first_instruction <= number < launch.first_instruction + launch.count:
            return f"{number}: {format_instruction(*stream.program.instruction(number - launch.first_instruction))}"
    raise AssertionError(number)


def test_stepping_to_the_end_gives_the_same_outputs(subject: tuple[Program, Inputs]) -> None:
    program, inputs = subject
    expected = run(program, inputs, FunctionalSimulator(ISA)).outputs
    ends = ["continue", "continue"] * len(program.launches)
    _, result, _ = script(subject, "step", "step 3", "until 6", "", "break GEMM", "s", "delete all", *ends)
    assert result is not None
    for name, array in expected.items():
        np.testing.assert_array_equal(result.outputs[name], array)


def test_commands_end_before_the_program_does(subject: tuple[Program, Inputs]) -> None:
    shown, result, _ = script(subject, "step")
    assert result is None
    assert f"-> {line(subject[0], 1)}" in "\n".join(shown)
    assert script(subject, "quit", "continue")[1] is None


def test_breakpoints_stop_before_their_instructions(subject: tuple[Program, Inputs]) -> None:
    program, _ = subject
    first_gemm = int(streams(program)[0].program.positions["GEMM"][0])
    shown, _, _ = script(subject, "break gemm", "continue")
    assert f"-> {line(program, first_gemm)}" in shown[-1]
    last = program.layers[-1].name
    first_of_last = int(np.flatnonzero(program.instruction_layers == len(program.layers) - 1)[0])
    shown, _, _ = script(subject, f"break {last}", *["continue"] * 3)
    assert f"-> {line(program, first_of_last)}" in "\n".join(shown)
    assert f"layer `{last}`" in shown[-1]
    shown, _, _ = script(subject, "break 7", "break 3", "c", "c")
    assert [text.split("\n")[0] for text in shown if text.startswith("-> ")] == [
        f"-> {line(program, number)}" for number in (0, 3, 7)
    ]


def test_memories_and_tokens_are_as_after_so_many_instructions(subject: tuple[Program, Inputs]) -> None:
    program, _ = subject
    (stream, *_) = streams(program)
    gemm = int(stream.program.positions["GEMM"][0])
    instruction, values = stream.program.instruction(gemm)
    written = footprint(ISA, instruction.opcode, values).writes
    space, entries = next(iter(written.items()))
    entry = int(entries[0])
    shown, _, simulator = script(
        subject, f"until {gemm}", "step", f"print {space} {entry}", "tokens", "print dram 0x10 0x14"
    )
    assert any(text.strip().startswith(f"writes {space} {hex(entry)}") for text in shown)
    contents = " ".join(f"{v:4}" for v in simulator.state[space][entry].ravel().tolist())
    assert f"  {f'{space}[0x{entry:x}]:':<12}{contents}" in shown
    gives, takes = stream.token_marks(Engine.LOAD, Engine.COMPUTE)
    assert f"  load to compute: {(gives <= gemm).sum() - (takes <= gemm).sum()}" in shown
    assert shown[-1].startswith("  0x000010: ") and len(shown[-1].split()) == 5


def test_listing_marks_the_next_instruction(subject: tuple[Program, Inputs]) -> None:
    shown, _, _ = script(subject, "until 4", "list 2")
    expected = [f"{'->' if n == 4 else '  '} {line(subject[0], n)}" for n in range(2, 7)]
    assert shown[-5:] == expected
    shown, _, _ = script(subject, "layers")
    assert [text.split()[1] for text in shown[-len(subject[0].layers) :]] == [one.name for one in subject[0].layers]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("jump", "no command `jump`; `help` lists them"),
        ("st", None),
        ("step many", "error: the count must be a number, not `many`"),
        ("step 0", "error: the count must be at least 1, not 0"),
        ("until 100000", "error: the instruction must be in 0.."),
        ("break 100000", "error: the instruction must be in 0.."),
        ("break no such layer", "error: no instruction fits `no such layer`"),
        ("delete 3", "error: no breakpoint `3`"),
        ("print", "error: a memory is one of act, wgt, acc, prm, tbl, dram, not ``"),
        ("print sram 3", "error: a memory is one of act"),
        ("print act 3 2", "error: entries of act must be in 0.."),
        ("print act -1", "error: entries of act must be in 0.."),
    ],
)
def test_mistakes_are_named_and_change_nothing(
    subject: tuple[Program, Inputs], command: str, message: str | None
) -> None:
    shown, _, _ = script(subject, command, "where")
    if message is not None:
        assert shown[-2].startswith(message)
        assert shown[-1].startswith("-> 0: ")
    else:
        assert shown[-1].startswith("-> 1: ")


def timer() -> FastSimulator:
    return FastSimulator(ISA, DramTiming(latency_cycles=50), compute_results=False)


def trace_of(subject: tuple[Program, Inputs]) -> InstructionTrace:
    """Give the times of the first launch."""
    trace = run(*subject, FastSimulator(ISA, timer().dram)).launches[0].trace
    assert trace is not None
    return trace


def shown_numbers(shown: Sequence[str]) -> list[int]:
    return [int(text.split(":")[0].removeprefix("-> ")) for text in shown if text.startswith("-> ")]


def test_in_time_instructions_are_executed_as_they_end(tiled: tuple[Program, Inputs]) -> None:
    program, inputs = tiled
    expected = run(program, inputs, FunctionalSimulator(ISA)).outputs
    order = np.argsort(trace_of(tiled).end, kind="stable")
    assert not np.array_equal(order, np.arange(len(order))), "it does nothing at once"
    shown, _, _ = script(tiled, *["step"] * 9, timer=timer())
    assert shown_numbers(shown) == order[:10].tolist()
    _, result, _ = script(tiled, "step 5", "break GEMM", *["continue"] * 400, timer=timer())
    assert result is not None
    for name, array in expected.items():
        np.testing.assert_array_equal(result.outputs[name], array)


def test_cycles_can_be_stopped_at(tiled: tuple[Program, Inputs]) -> None:
    """What has ended is what the times say, memories are as it left them, and engines are at work on the rest."""
    program, _ = tiled
    trace = trace_of(tiled)
    cycle = int(trace.end[len(trace.end) // 2]) - 1
    ended = np.flatnonzero(trace.end <= cycle)
    following = int(np.argsort(trace.end, kind="stable")[len(ended)])
    commands = (f"break cycle {cycle}", "continue", "engines", "tokens")
    shown, _, simulator = script(tiled, *commands, timer=timer())
    assert f"  cycle {cycle}: of every launch" in shown
    stop = next(text for text in shown if f"cycle {cycle}: of what" in text)
    assert stop.startswith(f"-> {line(program, following)}\n")
    assert f"starts in cycle {trace.start[following]}, ends in cycle {trace.end[following]}" in stop
    (stream, *_) = streams(program)
    working = {int(i) for i in np.flatnonzero((trace.start <= cycle) & (trace.end > cycle))}
    texts = [text for text in shown if " works on " in text]
    assert {int(part.split()[0]) for text in texts for part in text.split(" works on ")[1].split(", ")} == working
    gives, takes = stream.token_marks(Engine.LOAD, Engine.COMPUTE)
    balance = int((trace.end[gives] <= cycle).sum() - (trace.start[takes] <= cycle).sum())
    assert f"  load to compute: {balance}" in shown
    again = script(tiled, f"until cycle {cycle}", timer=timer())
    assert stop in again[0]
    assert all(np.array_equal(simulator.state[name], again[2].state[name]) for name in simulator.state)


def test_stops_come_in_the_order_of_time(tiled: tuple[Program, Inputs]) -> None:
    trace = trace_of(tiled)
    order = np.argsort(trace.end, kind="stable")
    third, late = int(order[3]), int(trace.end[order[6]])
    commands = (f"break cycle {late}", f"break {third}", "continue", "continue", "continue")
    shown, _, _ = script(tiled, *commands, timer=timer())
    assert shown_numbers(shown)[1:] == [third, int(order[np.searchsorted(trace.end[order], late, side="right")])]
    assert f"cycle {trace.end.max()}: all {len(order)} instructions of the launch are done" in shown[-1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("break cycle 7", "error: instructions have no cycles here: debug on `fast`"),
        ("until cycle 7", "error: instructions have no cycles here"),
        ("engines", "error: instructions have no cycles here"),
        ("break cycle", "error: the cycle must be a number, not ``"),
        ("break cycle soon", "error: the cycle must be a number, not `soon`"),
        ("until cycle 0", "error: the cycle must be above 0, not 0"),
    ],
)
def test_mistakes_with_cycles_are_named(subject: tuple[Program, Inputs], command: str, message: str) -> None:
    shown, _, _ = script(subject, command, timer=None if "no cycles" in message else timer())
    assert shown[-1].startswith(message)


def test_what_has_been_executed_cannot_be_run_up_to(subject: tuple[Program, Inputs]) -> None:
    shown, _, _ = script(subject, "until 6", "until 3")
    assert shown[-1] == "error: instruction 3 has been executed"


class Faulty:
    """A functional simulator that goes wrong at one instruction of the first launch, in a scratchpad or in DRAM."""

    def __init__(self, harm: Callable[[FunctionalSimulator, NDArray[np.uint8]], None], at: int) -> None:
        self.sound, self.harm, self.at, self.launches = FunctionalSimulator(ISA), harm, at, 0

    @property
    def isa(self) -> InstructionSet:
        return ISA

    def launch(self, dram: NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        self.launches += 1
        program = self.sound.prepare(dram, offset, count)
        wrong = min(self.at + 1, count) if self.launches == 1 else count
        self.sound.execute(program, dram, 0, wrong)
        if self.launches == 1 and count > self.at:
            self.harm(self.sound, dram)
        self.sound.execute(program, dram, wrong, count)
        return LaunchResult(None, {}, None)


def harm_result(simulator: FunctionalSimulator, dram: NDArray[np.uint8], entry: int) -> None:
    simulator.state["act"][entry, 0] ^= 1


def harm_dram(simulator: FunctionalSimulator, dram: NDArray[np.uint8], place: int) -> None:
    dram[place] ^= 255


def test_equal_simulators_do_not_differ(subject: tuple[Program, Inputs]) -> None:
    assert find_difference(*subject, lambda: FunctionalSimulator(ISA), lambda: FunctionalSimulator(ISA)) is None


def test_the_first_wrong_result_is_found(subject: tuple[Program, Inputs]) -> None:
    """One bit of a result that is read later flips, with the instruction that wrote it."""
    program, inputs = subject
    (stream, *_) = streams(program)
    at = int(stream.program.positions["GEMM"][2])
    instruction, values = stream.program.instruction(at)
    entry = int(footprint(ISA, instruction.opcode, values).writes["act"][1])
    wrong = partial(Faulty, partial(harm_result, entry=entry), at)
    found = find_difference(program, inputs, lambda: FunctionalSimulator(ISA), wrong)
    assert found is not None
    assert (found.instruction, found.space, found.place, found.count) == (at, "act", entry, 1)
    assert found.layer == stream.layer_names[stream.layer_of[at]]
    assert f"-> {line(program, at)}" in found.listing
    text = str(found)
    assert text.startswith(f"instruction {at} of layer `{found.layer}`: act 0x{entry:x}: ") and "(1 differ)" in text


def test_a_wrong_byte_in_dram_is_found(subject: tuple[Program, Inputs]) -> None:
    program, inputs = subject
    (stream, *_) = streams(program)
    at = int(stream.queues[Engine.STORE][-1])
    wrong = partial(Faulty, partial(harm_dram, place=program.dram_bytes - 1), at)
    found = find_difference(program, inputs, wrong, lambda: FunctionalSimulator(ISA))
    assert found is not None
    assert (found.instruction, found.space, found.place) == (at, "dram", program.dram_bytes - 1)


def serial_times(starts: Sequence[int]) -> LaunchResult:
    start = np.array(starts, np.int64)
    return LaunchResult(int(start[-1]) + 9, {}, InstructionTrace(start, start + 5))


class Timed:
    """A functional simulator that says it took some time."""

    def __init__(self, late: int | None) -> None:
        self.sound, self.late = FunctionalSimulator(ISA), late

    @property
    def isa(self) -> InstructionSet:
        return ISA

    def launch(self, dram: NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        self.sound.launch(dram, offset, count)
        shift = 0 if self.late is None else 1
        return serial_times([10 * i + (shift if self.late is not None and i >= self.late else 0) for i in range(count)])


def test_the_first_wrong_time_is_found(subject: tuple[Program, Inputs]) -> None:
    def simulator(late: int | None) -> Simulator:
        return Timed(late)

    assert find_difference(*subject, partial(simulator, None), partial(simulator, None)) is None
    found = find_difference(*subject, partial(simulator, None), partial(simulator, 4))
    assert found is not None
    assert (found.space, found.instruction) == ("time", 4)
    assert (found.left, found.right) == ("cycles 40 to 45", "cycles 41 to 46")
    assert find_difference(*subject, partial(simulator, None), partial(simulator, 4), compare_times=False) is None
