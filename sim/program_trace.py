"""Programs as text that runs anywhere: configuration, memory and instructions in one TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w

from tilewright.isa.assembly import assemble, format_instruction
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError, TilewrightError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.random_programs import RandomProgram, placed_program
from tilewright.sim.rtl import Stalls

FORMAT = 1

#: An instruction: its name and all operands that are not zero.
Written = tuple[str, Mapping[str, int]]

_MOST_DRAM_BYTES = 1 << 28


@dataclass(frozen=True)
class ProgramTrace:
    """All that a run depends on; scratchpads begin as zeros.

    Attributes
    ----------
    config : Config
    instructions : tuple of Written
    data_seed : int
        Of the data in DRAM, `random_programs.random_data`.
    dram_bytes : int
        Size of the data; the program lies behind.
    timing : DramTiming
    stalls : Stalls
        Of a second run on the RTL, of which only results are compared.
    note : str
        What was seen, for people.
    """

    config: Config
    instructions: tuple[Written, ...]
    data_seed: int
    dram_bytes: int
    timing: DramTiming = field(default_factory=DramTiming)
    stalls: Stalls = field(default_factory=Stalls)
    note: str = ""

    @property
    def isa(self) -> InstructionSet:
        """The instruction set of its configuration."""
        return instruction_set(self.config)

    def program(self) -> RandomProgram:
        """Return it in its memory."""
        return placed_program(self.isa, self.data_seed, self.instructions, self.dram_bytes)

    def to_text(self) -> str:
        """Return the TOML text."""
        isa = self.isa
        lines = [_line(isa, name, values) for name, values in self.instructions]
        table = {
            "format": FORMAT,
            "note": self.note,
            "memory": {"seed": self.data_seed, "bytes": self.dram_bytes, **asdict(self.timing)},
            "stalls": asdict(self.stalls),
            "config": tomllib.loads(self.config.to_toml()),
            "program": "".join(f"{line}\n" for line in lines),
        }
        order = ("format", "note", "program", "memory", "stalls", "config")
        return tomli_w.dumps({key: table[key] for key in order}, multiline_strings=True)

    @classmethod
    def from_text(cls, text: str) -> ProgramTrace:
        """Read what `to_text` wrote.

        Raises
        ------
        TilewrightError
            Naming what is wrong.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ProgramError(f"the trace is not valid TOML: {error}") from None
        _check_keys("trace", table, ("format", "note", "program", "memory", "stalls", "config"))
        if table.get("format") != FORMAT:
            raise ProgramError(f"the trace's `format` must be {FORMAT}, not {table.get('format')!r}")
        memory = _integers("memory", table.get("memory"), ("seed", "bytes", *_names(DramTiming)))
        seed, size = memory.pop("seed", 0), memory.pop("bytes", 0)
        if not 0 <= size <= _MOST_DRAM_BYTES:
            raise ProgramError(f"the trace's `memory.bytes` must be in 0..{_MOST_DRAM_BYTES}, not {size}")
        config = Config.from_dict(_table("config", table.get("config")))
        return cls(
            config, _read_program(config, table.get("program")), seed, size, DramTiming(**memory),
            _read_stalls(table.get("stalls", {})), str(table.get("note", "")),
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> ProgramTrace:
        """Read a file.

        Raises
        ------
        TilewrightError
            Naming the file and what is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ProgramError(f"cannot read the trace `{path}`: {reason}") from None
        try:
            return cls.from_text(text)
        except TilewrightError as error:
            raise type(error)(f"{path}: {error}") from None


def _line(isa: InstructionSet, name: str, values: Mapping[str, int]) -> str:
    instruction = isa.by_name[name]
    return format_instruction(instruction, instruction.complete(values))


def _read_program(config: Config, text: object) -> tuple[Written, ...]:
    if not isinstance(text, str):
        raise ProgramError(f"the trace's `program` must be assembly, not {text!r}")
    isa = instruction_set(config)
    data, size = assemble(text, isa), isa.instruction_bytes
    decoded = (isa.decode(data[i : i + size]) for i in range(0, len(data), size))
    return tuple((instruction.name, values) for instruction, values in decoded)


def _read_stalls(table: object) -> Stalls:
    values = dict(_table("stalls", table))
    _check_keys("stalls", values, _names(Stalls))
    for name, kind in (("probability", (int, float)), ("seed", int), ("latency_spread", int), ("interleave", bool)):
        if name in values and not isinstance(values[name], kind):
            raise ProgramError(f"the trace's `stalls.{name}` cannot be {values[name]!r}")
    return Stalls(**values)


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _table(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProgramError(f"the trace's `{name}` must be a table, not {value!r}")
    return value


def _check_keys(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ProgramError(f"unknown key `{key}` in {where}; known: {', '.join(known)}")


def _integers(name: str, value: object, known: tuple[str, ...]) -> dict[str, int]:
    table = dict(_table(name, value))
    _check_keys(name, table, known)
    for key, number in table.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise ProgramError(f"the trace's `{name}.{key}` must be an integer, not {number!r}")
    return table
