"""Faults planted in Verilog, many in one text: a register says which of them is there, so that one build has all."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.mutation.module_text import ModuleText, modules_of
from tests.mutation.unseen import CLEARS, reason_unseen

CHOICE = "mutant_choice"

_ASSIGN = re.compile(r"^  assign (?P<target>\S+|\S+ ?\[[\d:]+\]) +?= (?P<value>[^;]+);$")
_GUARD = re.compile(r"^(?P<head>    if )\((?P<condition>[^()]+)\)(?P<rest> (?P<target>\S+).*<= .*;)$")

#: What an operator becomes.
_SWAPS = {
    " + ": " - ", " - ": " + ", " * ": " + ", " & ": " | ", " | ": " & ", " ^ ": " | ", " == ": " != ", " != ": " == ",
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " << ": " >> ", " >> ": " << ", " >>> ": " >> ",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes
    ----------
    number : int
        What the register must say for it; 0 is none.
    kind : str
        `operator`, `choice`, `inverted`, `off_by_one`, `width`, `enable` or `reset`.
    line : int
        Of the text, from 0.
    module : str
    before, after : str
        The expression.
    """

    number: int
    kind: str
    line: int
    module: str
    before: str
    after: str


def mutants(text: str) -> Iterator[Mutant]:
    """Yield every fault that can be planted and seen, unnumbered."""
    for first, module in modules_of(text):
        for number, line in enumerate(module.lines, first):
            if "(*" in line or '"' in line:
                continue
            for kind, target, before, after in _of_line(module, line):
                if not reason_unseen(module, kind, target, before):
                    yield Mutant(0, kind, number, module.name, before, after)


def _of_line(module: ModuleText, line: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield kind, what is assigned, expression and changed expression."""
    if found := _ASSIGN.match(line):
        target, value = found["target"], found["value"]
        width = _bits_to_lose(module, target, value) if re.search(" [-+] ", value) else 1
        for kind, after in _changed(value, width):
            yield kind, target, value, after
    elif found := _GUARD.match(line):
        condition, target = found["condition"], found["target"]
        is_zero = re.search(r"<= (?:\d+'[hbd]0+|\{ *\d+'h0+ *\});$", found["rest"]) is not None
        is_reset = is_zero or condition == "rst" or CLEARS.fullmatch(module.value_of(condition)) is not None
        yield "reset" if is_reset else "enable", target, condition, "1'h0" if is_reset else f"!({condition})"


def _bits_to_lose(module: ModuleText, target: str, value: str) -> int:
    """Return the bits of a sum; a carry that nobody takes is no bit to lose."""
    sizes = [module.width(operand) for operand in re.split(" [-+] ", value)]
    sum_bits = max(sizes) if all(sizes) else 64
    return min(module.widths.get(target, 1), sum_bits, module.bits_taken(target))


def _changed(value: str, width: int) -> Iterator[tuple[str, str]]:
    for old, new in _SWAPS.items():
        if value.count(old) == 1 and "?" not in value:
            yield "operator", value.replace(old, new)
            if old in (" + ", " - "):
                is_signed = "$signed" in value  # one unsigned operand would make all of them unsigned
                yield "off_by_one", f"({value}) + {width}'{'s' * is_signed}h1"
                if width > 1 and not is_signed:
                    yield "width", f"({value}) & {width}'h{(1 << (width - 1)) - 1:x}"
    if value.startswith(("~ ", "! ")) and not re.search(r" [&|?] ", value):
        yield "inverted", value[2:]
    if value.startswith(("| {", "& {")):
        yield "operator", ("&" if value[0] == "|" else "|") + value[1:]
    parts = re.fullmatch(r"(?P<test>[^?:{}]+) \? +(?P<yes>[^?:{}]+) : (?P<no>[^?:{}]+)", value)
    if parts:
        yield "choice", f"{parts['test']} ? {parts['no']} : {parts['yes']}"


def chosen(text: str, count: int, seed: int) -> list[Mutant]:
    """Choose faults of all modules alike: each in turn gives one of its own, of a kind in turn."""
    rng = random.Random(seed)
    by_module: dict[str, list[Mutant]] = {}
    for mutant in mutants(text):
        by_module.setdefault(re.sub(r"\d+$", "", mutant.module), []).append(mutant)
    for found in by_module.values():
        rng.shuffle(found)
    picked: list[Mutant] = []
    used: set[int] = set()
    while len(picked) < count and any(by_module.values()):
        for name in sorted(by_module):
            candidates = [m for m in by_module[name] if m.line not in used]
            by_module[name] = candidates
            if candidates and len(picked) < count:
                rare = min(candidates, key=lambda m: sum(p.kind == m.kind for p in picked))
                picked.append(replace(rare, number=len(picked) + 1))
                used.add(rare.line)
    return picked


def changed_line(line: str, fault: Mutant, test: str = "") -> str:
    """Return a line with its fault; or, with a test, with the fault where that holds."""
    if fault.kind in ("enable", "reset"):
        after = f"{test} ? {fault.after} : ({fault.before})" if test else fault.after
        return line.replace(f"({fault.before})", f"({after})", 1)
    after = f"{test} ? ({fault.after}) : ({fault.before})" if test else fault.after
    return line.replace(f"= {fault.before};", f"= {after};", 1)


def planted(text: str, faults: Sequence[Mutant], top: str) -> str:
    """Return the text with all faults, and the register that chooses, in the top module; it begins at 0."""
    lines = text.splitlines()
    for fault in faults:
        test = f"{top}.mutant == 16'd{fault.number}"
        lines[fault.line] = changed_line(lines[fault.line], fault, test)
    first = next(i for i, line in enumerate(lines) if line.startswith((f"module {top}(", f"module {top} (")))
    end = next(i for i in range(first, len(lines)) if lines[i] == "endmodule")
    lines[end:end] = [
        f"  reg [15:0] {CHOICE} [0:0] /*verilator public_flat_rw*/;",
        "  reg [15:0] mutant = 16'd0;",
        f"  always @(posedge clk) mutant <= {CHOICE}[0];",
    ]
    return "\n".join(lines) + "\n"
