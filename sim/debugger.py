"""Steps through a program on the functional simulator: a simulator whose launches take commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.compiler.program import Launch, Program
from tilewright.isa.assembly import format_instruction
from tilewright.isa.errors import ProgramError
from tilewright.isa.footprint import Entries, footprint
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.sim.api import LaunchResult
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.trace.stream import Stream

#: Values in a line of a scratchpad's contents.
_VALUES_A_LINE = 16
_MOST_ENTRIES = 64

#: Asks for a command; None when there are no more.
Reader = Callable[[], str | None]

HELP = """\
step [COUNT]            execute the next instruction, or COUNT of them
until NUMBER            run up to instruction NUMBER
continue                run to the next breakpoint, or to the end of the launch
break [WHAT]            stop before instructions: a number, a mnemonic, or a part of a layer's name; list them
delete WHAT             forget a breakpoint, or all of them
list [COUNT]            disassemble around the next instruction
where                   show the next instruction, its layer and what it is for
print SPACE [FIRST [END]]  show entries of act, wgt, acc, prm or tbl, or bytes of dram; numbers may be hexadecimal
tokens                  show the tokens that have been given and not taken
layers                  list layers with their first instructions
help                    show this
quit                    stop"""


class DebuggerQuit(Exception):
    """The user has left; the program did not end."""


@dataclass(frozen=True)
class _Breakpoint:
    """Stop before instructions that fit: by number, by mnemonic, or by a part of a layer's name."""

    text: str
    positions: frozenset[int]


class Debugger:
    """Runs programs under commands; offer it to `tilewright.sim.runner.run` as the simulator.

    Instructions are numbered through the whole program. Commands may be shortened as long as they are not ambiguous;
    `s`, `c`, `b`, `l`, `p`, `w`, `u`, `t`, `d`, `q` and `h` always work.

    Parameters
    ----------
    program : Program
    simulator : FunctionalSimulator
    read : Callable
        Gives the next command, None at the end of all, which is as `quit`.
    write : Callable
        Takes what is to be shown.
    """

    def __init__(
        self, program: Program, simulator: FunctionalSimulator, read: Reader, write: Callable[[str], None]
    ) -> None:
        self.program, self.simulator = program, simulator
        self._read, self._write = read, write
        self._breakpoints: list[_Breakpoint] = []
        self._launch_number = 0
        self._commands: Mapping[str, Callable[[list[str]], bool]] = {
            "step": self._step, "continue": self._continue, "until": self._until, "break": self._break,
            "delete": self._delete, "list": self._list, "where": self._where, "print": self._print,
            "tokens": self._tokens, "layers": self._layers, "help": self._help, "quit": self._quit,
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
        self._decoded = self.simulator.prepare(dram, offset, launch.count)
        self._stream = Stream.of(self.program, launch, self.isa)
        self._dram, self._first, self._next = dram, launch.first_instruction, 0

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
        target = _number(words[0], "the instruction") - self._first if words else len(self._stream)
        if not self._next <= target <= len(self._stream):
            last = self._first + len(self._stream)
            raise ProgramError(f"the instruction must be in {self._first + self._next}..{last}, not {words[0]}")
        self._run_to(target)
        return False

    def _continue(self, words: list[str]) -> bool:
        if self._next == len(self._stream):
            return True
        stops = [p - self._first for b in self._breakpoints for p in b.positions if p - self._first > self._next]
        inside = [position for position in stops if position < len(self._stream)]
        self._run_to(min(inside, default=len(self._stream)))
        return False

    def _run_to(self, position: int) -> None:
        self.simulator.execute(self._decoded, self._dram, self._next, position)
        self._next = position
        self._where([])

    def _quit(self, words: list[str]) -> bool:
        raise DebuggerQuit

    # ---- breakpoints

    def _break(self, words: list[str]) -> bool:
        if words:
            self._breakpoints.append(self._breakpoint(" ".join(words)))
        for one in self._breakpoints:
            self._write(f"  {one.text}: {len(one.positions)} instructions, the first is {min(one.positions)}")
        return False

    def _breakpoint(self, text: str) -> _Breakpoint:
        count = len(self.program.instruction_labels)
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

    def _line(self, position: int) -> str:
        instruction, values = self._decoded.instruction(position)
        mark = "->" if position == self._next else "  "
        return f"{mark} {self._first + position}: {format_instruction(instruction, values)}"

    def _where(self, words: list[str]) -> bool:
        if self._next == len(self._stream):
            self._write(f"all {len(self._stream)} instructions of the launch are done; `continue` leaves it")
            return False
        layer = self._stream.layer_names[self._stream.layer_of[self._next]]
        purpose = self._stream.labels[self._next].removeprefix(layer).strip()
        self._write(f"{self._line(self._next)}\n   layer `{layer}`{f', {purpose}' if purpose else ''}")
        return False

    def _list(self, words: list[str]) -> bool:
        around = _number(words[0], "the count") if words else 5
        for position in range(max(0, self._next - around), min(len(self._stream), self._next + around + 1)):
            self._write(self._line(position))
        return False

    def _layers(self, words: list[str]) -> bool:
        for number, layer in enumerate(self.program.layers):
            positions = np.flatnonzero(self.program.instruction_layers == number)
            first = f"from {positions[0]}" if len(positions) else "no instructions"
            self._write(f"  {number} {layer.name} ({layer.op}): {len(positions)} instructions, {first}")
        return False

    def _tokens(self, words: list[str]) -> bool:
        for giver in Engine:
            for taker in giver.others:
                gives, takes = self._stream.token_marks(giver, taker)
                balance = int((gives < self._next).sum() - (takes < self._next).sum())
                self._write(f"  {giver} to {taker}: {balance}")
        return False

    def _written(self, position: int) -> str:
        instruction, values = self._decoded.instruction(position)
        touched = footprint(self.isa, instruction.opcode, values).writes
        texts = [f"{space} {_ranges(entries)}" for space, entries in touched.items() if len(entries)]
        return f"writes {', '.join(texts)}" if texts else "writes nothing"

    def _print(self, words: list[str]) -> bool:
        spaces = {**self.simulator.state, "dram": self._dram}
        if not words or words[0] not in spaces:
            raise ProgramError(f"a memory is one of {', '.join(spaces)}, not `{words[0] if words else ''}`")
        memory = spaces[words[0]]
        first = _number(words[1], "the first entry") if len(words) > 1 else 0
        end = _number(words[2], "the end") if len(words) > 2 else first + (_VALUES_A_LINE if memory.ndim == 1 else 1)
        if not 0 <= first < end <= len(memory):
            raise ProgramError(f"entries of {words[0]} must be in 0..{len(memory) - 1}, not {first}..{end - 1}")
        if memory.ndim == 1:
            for start in range(first, min(end, first + _MOST_ENTRIES * _VALUES_A_LINE), _VALUES_A_LINE):
                part = memory[start : min(start + _VALUES_A_LINE, end)]
                self._write(f"  0x{start:06x}: {' '.join(f'{v:02x}' for v in part.tolist())}")
            return False
        for entry in range(first, min(end, first + _MOST_ENTRIES)):
            values = memory[entry].ravel().tolist()
            for start in range(0, len(values), _VALUES_A_LINE):
                head = f"{words[0]}[0x{entry:x}]:" if not start else ""
                self._write(f"  {head:<12}" + " ".join(f"{v:4}" for v in values[start : start + _VALUES_A_LINE]))
        return False

    def _help(self, words: list[str]) -> bool:
        self._write(HELP)
        return False


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ProgramError(f"{what} must be a number, not `{text}`") from None


def _ranges(entries: Entries) -> str:
    """Write sorted entries as ranges; of many, the first few."""
    breaks = np.flatnonzero(np.diff(entries) > 1)
    first, last = entries[np.append(0, breaks + 1)], entries[np.append(breaks, len(entries) - 1)]
    texts = [hex(a) if a == b else f"{hex(a)}..{hex(b)}" for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    more = f" and {len(texts) - 4} more ranges" if len(texts) > 4 else ""
    return f"{' '.join(texts[:4])}{more}"
