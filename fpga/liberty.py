"""Libraries of standard cells: what counting gates needs to know of a Liberty file."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from tilewright.isa.errors import TilewrightError

#: Outputs for inputs that count up, the first input being the highest bit.
NAND2 = "1110"

#: What ABC maps nothing without.
_NEEDED: Mapping[str, str] = {"inverter": "10", "buffer": "01"}

_NOISE = re.compile(r'("(?:[^"\\]|\\.)*")|/\*.*?\*/|//[^\n]*|\\\r?\n', re.S)
_STATEMENT = re.compile(
    r"""[\s;]*(?:
        (?P<close>\})
      | (?P<name>[^\s(){}:;"]+)\s*(?:
            :\s*(?P<value>"(?:[^"\\]|\\.)*+"|[^;{}\n]*)
          | \((?P<arguments>(?:[^()"]++|"(?:[^"\\]|\\.)*+")*+)\)\s*(?P<open>\{)?
        )
    )""",
    re.X | re.S,
)
_NAME = re.compile(r"[A-Za-z_][\w\[\]]*")

#: What a function without parentheses becomes, step by step, in the order in which Liberty's operators bind.
_STEPS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (r"([01])'", {"0": "1", "1": "0"}),
    (r"!([01])", {"0": "1", "1": "0"}),
    (r"([01])\^([01])", {"00": "0", "01": "1", "10": "1", "11": "0"}),
    (r"([01])[*&]?([01])", {"00": "0", "01": "0", "10": "0", "11": "1"}),
    (r"([01])[+|]([01])", {"00": "0", "01": "1", "10": "1", "11": "1"}),
)


class LibertyError(TilewrightError):
    """A file is no Liberty file, or its library lacks what synthesis needs."""


@dataclass(frozen=True)
class Cell:
    """A cell of a library.

    Attributes
    ----------
    name : str
    area : float
        In the library's own unit; 0 if the library does not say it.
    inputs : tuple of str
    functions : tuple of str
        Of the outputs that always drive, as written.
    is_flip_flop, is_latch : bool
    """

    name: str
    area: float
    inputs: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    is_flip_flop: bool = False
    is_latch: bool = False

    def outputs(self) -> str:
        """Give what a gate of one output gives for inputs that count up, the first input being the highest bit."""
        if len(self.functions) != 1 or self.is_flip_flop or self.is_latch:
            return ""
        values = itertools.product("01", repeat=len(self.inputs))
        return "".join(evaluate(self.functions[0], dict(zip(self.inputs, bits, strict=True))) for bits in values)


@dataclass(frozen=True)
class Library:
    """A library of standard cells.

    Attributes
    ----------
    name : str
    cells : mapping of str to Cell
    text : str
        The file's.
    """

    name: str
    cells: Mapping[str, Cell]
    text: str = field(repr=False)

    @property
    def nand2(self) -> Cell:
        """The smallest cell that is a NAND of two inputs."""
        found = [cell for cell in self.cells.values() if cell.area > 0 and _is_gate(cell, NAND2)]
        if not found:
            raise LibertyError(f"library `{self.name}` has no NAND of two inputs with an area, the unit of gates")
        return min(found, key=lambda cell: cell.area)


@dataclass
class _Group:
    """A group while it is read: `kind (name) {`, attributes, groups, `}`."""

    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[_Group] = field(default_factory=list)


def read_library(data: bytes, source: str) -> Library:
    """Read a Liberty file.

    Parameters
    ----------
    data : bytes
        What is in it.
    source : str
        What messages name.

    Raises
    ------
    LibertyError
        If it is no Liberty file, or its library has no NAND of two inputs, no inverter, no buffer, or no flip-flop.
    """
    text = data.decode("latin-1")  # names are ASCII, comments in any encoding
    top = _parse(text, source)
    cells = {group.name: _cell(group, source) for group in top.groups if group.kind == "cell"}
    library = Library(top.name, cells, text)
    try:
        _check(library)
    except LibertyError as error:
        raise LibertyError(f"`{source}`: {error}") from None
    return library


def evaluate(function: str, inputs: Mapping[str, str]) -> str:
    """Return `0` or `1`, what a function of Liberty gives; `x` if it says something else than values of the inputs."""
    text = _NAME.sub(lambda name: inputs.get(name[0], "x"), re.sub(r'["\s]+', " ", function)).replace(" ", "")
    while (inner := re.sub(r"\(([^()]*)\)", lambda part: _evaluate_flat(part[1]), text)) != text:
        text = inner
    value = _evaluate_flat(text)
    return value if value in ("0", "1") else "x"


def _evaluate_flat(text: str) -> str:
    for pattern, results in _STEPS:
        done = ""
        while done != text:
            done, text = text, re.sub(pattern, partial(_result, results), text)
    return text


def _result(results: Mapping[str, str], found: re.Match[str]) -> str:
    return results["".join(found.groups())]


def _is_gate(cell: Cell, outputs: str) -> bool:
    return 2 ** len(cell.inputs) == len(outputs) and cell.outputs() == outputs


def _check(library: Library) -> None:
    """Refuse a library that nothing can be mapped to."""
    cells = library.cells.values()
    _ = library.nand2
    for name, outputs in _NEEDED.items():
        if not any(_is_gate(cell, outputs) for cell in cells):
            raise LibertyError(f"library `{library.name}` has no {name} among its {len(cells)} cells")
    if not any(cell.is_flip_flop for cell in cells):
        raise LibertyError(f"library `{library.name}` has no flip-flop among its {len(cells)} cells")


def _parse(text: str, source: str) -> _Group:
    """Read the groups of a file, the first of which is the library."""
    plain = _NOISE.sub(lambda noise: noise[1] or " ", text)
    first = _STATEMENT.match(plain)
    if first is None or first["name"] != "library" or not first["open"]:
        begins = f"begins with {text.strip()[:24]!r}, not with `library (NAME) {{`" if text.strip() else "is empty"
        raise LibertyError(f"`{source}` is no Liberty file: it {begins}")
    top = _group(first)
    stack, place = [top], first.end()
    while stack:
        found = _STATEMENT.match(plain, place)
        if found is None:
            rest, group = plain[place:].strip("; \t\r\n"), f"`{stack[-1].kind} ({stack[-1].name})`"
            wrong = f"no statement of Liberty in {group}: {rest[:24]!r}" if rest else f"it ends within {group}"
            raise LibertyError(f"`{source}`: {wrong}")
        place = found.end()
        if found["close"]:
            stack.pop()
        elif found["open"]:
            stack[-1].groups.append(_group(found))
            stack.append(stack[-1].groups[-1])
        elif found["value"] is not None:
            stack[-1].attributes[found["name"]] = found["value"].strip().strip('"').strip()
    return top


def _group(found: re.Match[str]) -> _Group:
    return _Group(found["name"], found["arguments"].strip().strip('"'))


def _cell(group: _Group, source: str) -> Cell:
    pins = [inner for inner in group.groups if inner.kind == "pin"]
    attributes = [pin.attributes for pin in pins]
    kinds = {inner.kind for inner in group.groups}
    try:
        area = float(group.attributes.get("area", "0"))
    except ValueError:
        area = math.nan
    if not (math.isfinite(area) and area >= 0):
        raise LibertyError(f"`{source}`: area of cell `{group.name}` is a number, not {group.attributes['area']!r}")
    return Cell(
        name=group.name,
        area=area,
        inputs=tuple(pin.name for pin in pins if pin.attributes.get("direction") == "input"),
        functions=tuple(pin["function"] for pin in attributes if "function" in pin and "three_state" not in pin),
        is_flip_flop="ff" in kinds,
        is_latch="latch" in kinds,
    )
