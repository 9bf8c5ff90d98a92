"""What the ISA page says in its tables, read from its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_WIDTHS = {"i8": 8, "u8": 8, "i32": 32}


@dataclass(frozen=True)
class PageField:
    """A field of an instruction: its lowest bit, its width, whether it is signed, and its meaning in words."""

    low: int
    width: int
    is_signed: bool
    meaning: str

    def of(self, word: int) -> int:
        value = word >> self.low & ((1 << self.width) - 1)
        return value - (1 << self.width) if self.is_signed and self.width and value >> (self.width - 1) else value


@dataclass(frozen=True)
class PageInstruction:
    opcode: int
    engine: str
    fields: dict[str, PageField]


@dataclass(frozen=True)
class Page:
    """The page's text, taken apart."""

    text: str

    @cached_property
    def instruction_bytes(self) -> int:
        (size,) = re.findall(r"sequence of instructions of (\d+) bytes each", self.text)
        return int(size)

    @cached_property
    def config(self) -> dict[str, int]:
        """The configuration's fields; true is 1."""
        rows = self._table("Configuration")
        numbers = {"true": 1, "false": 0}
        return {name.strip("`"): numbers.get(value) or int(numbers.get(value, value)) for name, _, _, value in rows}

    @cached_property
    def memories(self) -> dict[str, tuple[bool, int, list[int]]]:
        """Whether numbers are signed, their width, and the shape, of each memory but `dram`."""
        found = {}
        for name, kind, shape, _ in self._table("Memories"):
            if "..." not in shape:
                numbers = [int(n) for n in re.findall(r"\d+", shape)]
                found[name.strip("`")] = (kind.startswith("i"), _WIDTHS[kind], numbers)
        return found

    @cached_property
    def instructions(self) -> dict[str, PageInstruction]:
        found = {}
        for title in re.findall(r"^## ([A-Z_]+)$", self.text, re.M):
            (engine,) = re.findall(r"Engine: `(\w+)`", self._section(title))
            fields, opcode = {}, 0
            for place, name, width, meaning in self._table(title):
                low = int(place.split(":")[1]) if ":" in place else 0
                fields[name.strip("`")] = PageField(low, int(width), "; signed" in meaning, meaning)
                if name == "`opcode`":
                    opcode = int(meaning.rsplit(" ", 1)[1])
            found[title] = PageInstruction(opcode, engine, fields)
        return found

    @cached_property
    def vector_ops(self) -> dict[int, str]:
        return {int(code): name.strip("`") for code, name, *_ in self._table("Vector operations")}

    @cached_property
    def row_ops(self) -> dict[int, str]:
        if "## Row operations" not in self.text:
            return {}
        return {int(code): name.strip("`") for code, name, *_ in self._table("Row operations")}

    @cached_property
    def number_tables(self) -> dict[str, list[int]]:
        """The tables that powers and logarithms are interpolated in."""
        rows = re.findall(r"^- `(\w+)`: (.*)$", self.text, re.M)
        return {name: [int(n) for n in numbers.split(",")] for name, numbers in rows}

    def most(self, instruction: str, field: str) -> int:
        """The largest value of a field that may not be as large as its bits allow."""
        return int(self.instructions[instruction].fields[field].meaning.rsplit("at most ", 1)[1])

    def _section(self, title: str) -> str:
        return re.split(r"^## ", self.text.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]

    def _table(self, title: str) -> list[list[str]]:
        """The rows of a section's first table, without its heads."""
        lines = [line for line in self._section(title).splitlines() if line.startswith("| ")]
        return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
