"""Steps through a program instruction by instruction: a simulator whose launches take commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.compiler.program import Launch, Program
from tilewright.isa.assembly import format_instruction
from tilewright.isa.errors import ProgramError
from tilewright.isa.footprint import footprint
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.sim.api import LaunchResult, Simulator
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.execution_order import ExecutionOrder
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.memory_text import memory_lines, ranges_text
from tilewright.sim.trace.stream import Stream

#: Asks for a command; None when there are no more.
Reader = Callable[[], str | None]

HELP = """\
step [COUNT]            execute the next instruction, or COUNT of them
until NUMBER            run up to instruction NUMBER; `until cycle N`: until all that end by cycle N have ended
continue                run to the next breakpoint, or to the end of the launch
break [WHAT]            stop before instructions: a number, a mnemonic, or a part of a layer's name, or at `cycle N` of
                        a launch; list them
delete WHAT             forget a breakpoint, or all of them
list [COUNT]            disassemble around the next instruction
where                   show the next instruction, its layer and what it is for
print SPACE [FIRST [END]]  show entries of act, wgt, acc, prm or tbl, or bytes of dram; numbers may be hexadecimal
tokens                  show the tokens that have been given and not taken
engines                 show what each engine works on in this cycle
layers                  list layers with their first instructions
help                    show this
quit                    stop"""


class DebuggerQuit(Exception):
    """The user has left; the program did not end."""


@dataclass(frozen=True)
class _Breakpoint:
    """Stop before instructions that fit (by number, by mnemonic, or by a part of a layer's name), or at a cycle."""

    text: str
    positions: frozenset[int] = frozenset()
    cycle: int | None = None


class Debugger:
    """Runs programs under commands; offer it to `tilewright.sim.runner.run` as the simulator.

    Instructions are numbered through the whole program. They are executed as they stand or, with a timer, as they end
    in time, so that memories are as at the end of a cycle but for instructions that are at work in it. Commands may be
    shortened as long as they are not ambiguous; `s`, `c`, `b`, `l`, `p`, `w`, `u`, `t`, `d`, `q` and `h` always work.

    Parameters
    ----------
    program : Program
    simulator : FunctionalSimulator
    read : Callable
        Gives the next command, None at the end of all, which is as `quit`.
    write : Callable
        Takes what is to be shown.
    timer : Simulator, optional
        Says when each instruction starts and ends; `fast` without results is enough.
    """

    def __init__(
        self,
        program: Program,
        simulator: FunctionalSimulator,
        read: Reader,
        write: Callable[[str], None],
        timer: Simulator | None = None,
    ) -> None:
        self.program, self.simulator, self.timer = program, simulator, timer
        self._read, self._write = read, write
        self._breakpoints: list[_Breakpoint] = []
        self._launch_number = 0
        self._commands: Mapping[str, Callable[[list[str]], bool]] = {
            "step": self._step, "continue": self._continue, "until": self._until, "break": self._break,
            "delete": self._delete, "list": self._list, "where": self._where, "print": self._print,
            "tokens": self._tokens, "layers": self._layers, "engines": self._engines, "help": self._help,
            "quit": self._quit,
        }  # fmt: skip

    @property
    def isa(self) -> InstructionSet:
        """The instruction set of the accelerator that is simulated."""
        return self.simulator.isa

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Execute a launch of the program, as commands say; see `Simulator.launch`.

        Raises
        ------
        DebuggerQuit
            If the user leaves.
        """
        launch = self.program.launches[self._launch_number]
        self._launch_number += 1
        self._begin(launch, dram, offset)
        self._write(f"launch {self._launch_number} of {len(self.program.launches)}: {count} instructions")
        self._where([])
        while True:
            line = self._read()
            if line is None:
                raise DebuggerQuit
            if self._obey(line):
                return LaunchResult(None, {}, None)

    def _begin(self, launch: Launch, dram: npt.NDArray[np.uint8], offset: int) -> None:
        decoded = self.simulator.prepare(dram, offset, launch.count)
        self._order = self._ordered(dram, offset, launch.count)
        self._decoded = DecodedProgram(self.isa, decoded.words[self._order.positions])  # by rank
        self._stream = Stream.of(self.program, launch, self.isa)
        self._dram, self._first, self._next, self._cycle = dram, launch.first_instruction, 0, 0

    def _ordered(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> ExecutionOrder:
        if self.timer is None:
            return ExecutionOrder.of_stream(count)
        trace = self.timer.launch(dram.copy(), offset, count).trace
        if trace is None:
            raise ProgramError("the debugger's timer knows no time")
        return ExecutionOrder.of_time(trace)

    def _obey(self, line: str) -> bool:
        """Do what a line says; tell whether the launch has been left."""
        words = line.split()
        if not words:
            return False
        fitting = [name for name in self._commands if name.startswith(words[0].lower())]
        if not fitting or (len(fitting) > 1 and len(words[0]) > 1):
            self._write(f"no command `{words[0]}`; `help` lists them")
            return False
        try:
            return self._commands[fitting[0]](words[1:])
        except ProgramError as error:
            self._write(f"error: {error}")
            return False

    # ---- running

    def _step(self, words: list[str]) -> bool:
        if self._next == len(self._stream):
            return self._continue([])
        count = _number(words[0], "the count") if words else 1
        if count < 1:
            raise ProgramError(f"the count must be at least 1, not {count}")
        if count == 1:
            self._write(f"  {self._written(self._next)}")
        self._run_to(min(self._next + count, len(self._stream)))
        return False

    def _until(self, words: list[str]) -> bool:
        if words[:1] == ["cycle"]:
            cycle = self._later_cycle(words[1:])
            self._run_to(self._order.ended_by(cycle), cycle)
            return False
        number = _number(words[0], "the instruction") if words else self._first + len(self._stream)
        position, last = number - self._first, self._first + len(self._stream)
        if not 0 <= position <= len(self._stream):
            raise ProgramError(f"the instruction must be in {self._first}..{last}, not {number}")
        rank = int(self._order.ranks[position]) if position < len(self._stream) else position
        if rank < self._next:
            raise ProgramError(f"instruction {number} has been executed")
        self._run_to(rank)
        return False

    def _continue(self, words: list[str]) -> bool:
        if self._next == len(self._stream):
            return True
        count = len(self._stream)
        stops = [(count, self._order.end_of(count - 1))]
        for one in self._breakpoints:
            if one.cycle is not None and self._cycle < one.cycle < stops[0][1]:
                stops.append((self._order.ended_by(one.cycle), one.cycle))
            inside = [position - self._first for position in one.positions if 0 <= position - self._first < count]
            ranks = self._order.ranks[inside]
            stops += [(rank, self._order.end_of(rank - 1)) for rank in ranks[ranks > self._next].tolist()]
        self._run_to(*min(stops))
        return False

    def _run_to(self, rank: int, cycle: int = 0) -> None:
        self.simulator.execute(self._decoded, self._dram, self._next, rank)
        self._next = rank
        self._cycle = max(self._cycle, cycle, self._order.end_of(rank - 1))
        self._where([])

    def _later_cycle(self, words: list[str]) -> int:
        if self.timer is None:
            raise ProgramError("instructions have no cycles here: debug on `fast`")
        cycle = _number(words[0] if words else "", "the cycle")
        if cycle <= self._cycle:
            raise ProgramError(f"the cycle must be above {self._cycle}, not {cycle}")
        return cycle

    def _quit(self, words: list[str]) -> bool:
        raise DebuggerQuit

    # ---- breakpoints

    def _break(self, words: list[str]) -> bool:
        if words:
            self._breakpoints.append(self._breakpoint(" ".join(words)))
        for one in self._breakpoints:
            first = f"{len(one.positions)} instructions, the first is {min(one.positions, default=0)}"
            self._write(f"  {one.text}: {'of every launch' if one.cycle is not None else first}")
        return False

    def _breakpoint(self, text: str) -> _Breakpoint:
        count = len(self.program.instruction_labels)
        if text.split()[0] == "cycle":
            if self.timer is None:
                raise ProgramError("instructions have no cycles here: debug on `fast`")
            return _Breakpoint(text, cycle=_number(text.removeprefix("cycle").strip(), "the cycle"))
        if text.isdecimal():
            if int(text) >= count:
                raise ProgramError(f"the instruction must be in 0..{count - 1}, not {text}")
            return _Breakpoint(text, frozenset((int(text),)))
        if text.upper() in self.isa.by_name:
            found = {
                launch.first_instruction + int(position)
                for launch in self.program.launches
                for position in Stream.of(self.program, launch, self.isa).program.positions[text.upper()]
            }
        else:
            layers = [i for i, layer in enumerate(self.program.layers) if text in layer.name]
            found = set(np.flatnonzero(np.isin(self.program.instruction_layers, layers)).tolist())
        if not found:
            raise ProgramError(f"no instruction fits `{text}`: give a number, a mnemonic or a part of a layer's name")
        return _Breakpoint(text, frozenset(found))

    def _delete(self, words: list[str]) -> bool:
        wanted = " ".join(words)
        kept = [one for one in self._breakpoints if wanted not in (one.text, "all")]
        if len(kept) == len(self._breakpoints):
            raise ProgramError(f"no breakpoint `{wanted}`")
        self._breakpoints = kept
        return False

    # ---- showing

    def _line(self, rank: int) -> str:
        instruction, values = self._decoded.instruction(rank)
        mark = "->" if rank == self._next else "  "
        return f"{mark} {self._first + int(self._order.positions[rank])}: {format_instruction(instruction, values)}"

    def _where(self, words: list[str]) -> bool:
        now = f"cycle {self._cycle}: " if self.timer else ""
        if self._next == len(self._stream):
            self._write(f"{now}all {len(self._stream)} instructions of the launch are done; `continue` leaves it")
            return False
        position = int(self._order.positions[self._next])
        layer = self._stream.layer_names[self._stream.layer_of[position]]
        purpose = self._stream.labels[position].removeprefix(layer).strip()
        lines = [self._line(self._next), f"   layer `{layer}`{f', {purpose}' if purpose else ''}"]
        if trace := self._order.trace:
            times = f"starts in cycle {trace.start[position]}, ends in cycle {trace.end[position]}"
            lines.append(f"   {now}of what is not done it ends first; {times}")
        self._write("\n".join(lines))
        return False

    def _list(self, words: list[str]) -> bool:
        around = _number(words[0], "the count") if words else 5
        for rank in range(max(0, self._next - around), min(len(self._stream), self._next + around + 1)):
            self._write(self._line(rank))
        return False

    def _engines(self, words: list[str]) -> bool:
        if self.timer is None:
            raise ProgramError("instructions have no cycles here: debug on `fast`")
        assert self._order.trace is not None
        for engine in Engine:
            working, following = self._order.working(self._stream, engine, self._cycle)
            if working:
                what = f"works on {', '.join(self._name(position) for position in working)}"
            elif following is None:
                what = "is done"
            else:
                what = f"waits, {self._name(following)} starts in cycle {self._order.trace.start[following]}"
            self._write(f"  {engine} {what}")
        return False

    def _name(self, position: int) -> str:
        return f"{self._first + position} ({self._decoded.instruction(int(self._order.ranks[position]))[0].name})"

    def _layers(self, words: list[str]) -> bool:
        for number, layer in enumerate(self.program.layers):
            positions = np.flatnonzero(self.program.instruction_layers == number)
            first = f"from {positions[0]}" if len(positions) else "no instructions"
            self._write(f"  {number} {layer.name} ({layer.op}): {len(positions)} instructions, {first}")
        return False

    def _tokens(self, words: list[str]) -> bool:
        for giver in Engine:
            for taker in giver.others:
                balance = self._order.tokens(self._stream, giver, taker, self._next, self._cycle)
                self._write(f"  {giver} to {taker}: {balance}")
        return False

    def _written(self, position: int) -> str:
        instruction, values = self._decoded.instruction(position)
        touched = footprint(self.isa, instruction.opcode, values).writes
        texts = [f"{space} {ranges_text(entries)}" for space, entries in touched.items() if len(entries)]
        return f"writes {', '.join(texts)}" if texts else "writes nothing"

    def _print(self, words: list[str]) -> bool:
        first = _number(words[1], "the first entry") if len(words) > 1 else 0
        end = _number(words[2], "the end") if len(words) > 2 else None
        memories = {**self.simulator.state, "dram": self._dram}
        for line in memory_lines(memories, words[0] if words else "", first, end):
            self._write(line)
        return False

    def _help(self, words: list[str]) -> bool:
        self._write(HELP)
        return False


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ProgramError(f"{what} must be a number, not `{text}`") from None
