"""What the Verilog of one module says of a name: its width, what it is made from, which of its bits are taken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

_DECLARED = re.compile(
    r"^  (?:output |input )?(?:wire|reg)(?: signed)? (?:\[(?P<high>\d+):0\] )?(?P<name>\S+?) ?(?:;| =)"
)
_ASSIGN = re.compile(r"^  assign (?P<target>\S+?) +(?:\[[\d:]+\] )?= (?P<value>[^;]+);$|^  assign (?P<part>\S+?)\[")
_RESET = re.compile(r"^    if \((?P<guard>[^()]+)\) (?P<name>\S+?)(?: ?\[[\d:]+\])? +<= ")
_NEXT = re.compile(r"^    else (?P<name>\S+?) +<= (?P<value>[^;]+);$")
_NAME = re.compile(r"\\\S+|(?<![\w'$])[a-zA-Z_$][\w$]*")


@dataclass(frozen=True)
class ModuleText:
    """A module's lines, without those of others.

    Attributes
    ----------
    name : str
    lines : sequence of str
    """

    name: str
    lines: Sequence[str]

    @cached_property
    def widths(self) -> dict[str, int]:
        """Bits of each name."""
        found = (_DECLARED.match(line) for line in self.lines)
        return {f["name"]: int(f["high"] or 0) + 1 for f in found if f}

    @cached_property
    def _values(self) -> dict[str, str]:
        found = (_ASSIGN.match(line) for line in self.lines)
        return {f["target"]: f["value"] for f in found if f and f["target"]}

    @cached_property
    def _resets(self) -> dict[str, list[tuple[str, str]]]:
        """By the condition: the registers that it resets, each with what it takes in every other cycle, if it does."""
        resets: dict[str, list[tuple[str, str]]] = {}
        for line, after in zip(self.lines, [*self.lines[1:], ""], strict=True):
            if found := _RESET.match(line):
                following = _NEXT.match(after)
                value = following["value"] if following and following["name"] == found["name"] else ""
                resets.setdefault(found["guard"].strip(), []).append((found["name"], value))
        return resets

    def value_of(self, name: str) -> str:
        """Return what a name is assigned, if it is by one line."""
        return self._values.get(name, "")

    def is_called(self, operand: str, beginning: str) -> bool:
        """Say whether an operand is, or is what is assigned to, a name that begins so."""
        names = [operand, *(name for name, value in self._values.items() if value == operand)]
        return any(name.lstrip("\\").startswith(beginning) for name in names)

    def width(self, operand: str) -> int:
        """Return the bits of a name, a part of one, or a sized number; 0 when it cannot be said."""
        operand = operand.strip().removeprefix("$signed(").rstrip(") ").strip()
        if found := re.fullmatch(r"\{ *\d+'h0+, (\S+(?: ?\[[\d:]+\])?) *\}", operand):
            operand = found[1]  # what is above it is zero
        if found := re.fullmatch(r"(\d+)'s?[hbd][\da-fA-F]+", operand):
            return int(found[1])
        if found := re.fullmatch(r"\S+? ?\[(\d+):(\d+)\]", operand):
            return int(found[1]) - int(found[2]) + 1
        return 1 if re.fullmatch(r"\S+? ?\[\d+\]", operand) else self.widths.get(operand, 0)

    def bits_taken(self, target: str) -> int:
        """Return how many of the lower bits of a name somebody takes."""
        use, taken = re.compile(rf"(?<![\w$.\\]){re.escape(target)}(?: ?\[(\d+)(?::\d+)?\])?(?![\w$.])"), 0
        for line in self.lines:
            if line.startswith(("module", f"  assign {target} ")) or _DECLARED.match(line):
                continue
            for found in use.finditer(line):
                taken = max(taken, int(found[1]) + 1 if found[1] else self.widths.get(target, 1))
        return taken

    def registers_reset_by(self, guard: str) -> Iterator[tuple[str, bool]]:
        """Yield registers, and whether each takes in every other cycle what is not made from itself."""
        for name, value in self._resets.get(guard.strip(), ()):
            yield name, bool(value) and name not in self._cone(value)

    def _cone(self, value: str) -> set[str]:
        """All names of this module that a value is made from."""
        seen: set[str] = set()
        left = set(_NAME.findall(value))
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left |= set(_NAME.findall(self._values.get(name, "")))
        return seen


def modules_of(text: str) -> Iterator[tuple[int, ModuleText]]:
    """Yield every module with the number of its first line."""
    lines, first = text.splitlines(), 0
    for number, line in enumerate(lines):
        if line.startswith("module "):
            first = number
        elif line == "endmodule":
            name = re.split(r"[ (]", lines[first].removeprefix("module "))[0].lstrip("\\")
            yield first, ModuleText(name, lines[first:number])
