"""Which module of a design stands in which, and a design's text with one of its lines changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from tests.mutation.module_text import modules_of
from tests.mutation.verilog_mutants import Mutant, changed_line

_INSTANCE = re.compile(r"^  (?P<module>\\\S+|[a-zA-Z_]\w*) +(?:\\\S+|[a-zA-Z_][\w$]*) +\($")
_OUTPUT = re.compile(r"^  output (?:signed )?(?:\[\d+:0\] )?(?P<name>\S+?) ?;$")


@dataclass(frozen=True)
class Hierarchy:
    """A design's Verilog, and its top module."""

    text: str
    top: str

    @cached_property
    def _modules(self) -> Mapping[str, tuple[int, list[str]]]:
        """By name: the first line, and all lines with that of the end."""
        return {m.name: (first, [*m.lines, "endmodule"]) for first, m in modules_of(self.text)}

    @cached_property
    def _children(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name, (_, lines) in self._modules.items():
            instances = (_INSTANCE.match(line) for line in lines)
            found[name] = frozenset(i["module"].lstrip("\\") for i in instances if i) & self._modules.keys()
        return found

    def outputs(self, name: str) -> set[str]:
        """Return the outputs of a module."""
        found = (_OUTPUT.match(line) for line in self._modules[name][1])
        return {f["name"].lstrip("\\") for f in found if f}

    def below(self, name: str, without: str = "") -> set[str]:
        """Return a module and all that stand in it, not by way of another."""
        seen: set[str] = set()
        left = [name]
        while left:
            here = left.pop()
            if here not in seen and here != without:
                seen.add(here)
                left += self._children[here]
        return seen

    def around(self, name: str) -> list[str]:
        """Return the modules that have all instances of a module in them, itself and the smallest first."""
        found = [n for n in self._modules if name in self.below(n) and name not in self.below(self.top, n)]
        return sorted(found, key=lambda n: len(self.below(n)))

    def between(self, outer: str, inner: str) -> set[str]:
        """Return the modules on the way from one to another that stands in it, both included."""
        return {n for n in self.below(outer) if inner in self.below(n)}

    def lines(self, names: Collection[str]) -> int:
        """Return how many lines some modules have."""
        return sum(len(self._modules[name][1]) for name in names)

    def text_of(self, names: Collection[str], fault: Mutant | None = None) -> str:
        """Return the text of some modules, with a fault if one is given."""
        parts: list[str] = []
        for name in names:
            first, lines = self._modules[name]
            if fault is not None and name == fault.module:
                at = fault.line - first
                lines = [*lines[:at], changed_line(lines[at], fault), *lines[at + 1 :]]
            parts += lines
        return "\n".join(parts) + "\n"
