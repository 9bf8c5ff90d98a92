"""Proves that a fault is none: with it, a part of the design does the same at all its outputs, in all cycles.

Two copies of a module, one with the fault, begin in the same state and are given the same inputs, which can do
anything, the reset included. Yosys makes one netlist of both and of the question whether they ever differ; ABC merges
registers that are equal by induction (`scorr`), and proves what is left (`pdr`) or finds a run in which they differ.

Modules that stand in it and memories are cut out: what comes out of them is an input, the same for both copies, and
what goes into them an output. That is sound by induction over time and over the order in which signals settle: as long
as the same goes in, the same comes out. Of memories, data that are not written need not be the same; and where the
addresses of a read differ, what is read can be anything in each copy.

Where the module alone may differ, because nothing says that some inputs never come, or that some outputs are not looked
at, the modules around it are asked, one after another: first with what stands on the way to it, then with all that is
in them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyosys
from pyosys import libyosys

from tests.mutation.hierarchy import Hierarchy
from tests.mutation.verilog_mutants import Mutant

_ABC = Path(pyosys.__file__).parent / "yosys-abc"
_MEMORY = "$mem_v2"
#: What is undefined can be anything in each copy; registers without an initial value begin at 0, as in simulation.
_TO_ANDS = (
    "hierarchy -top miter", "proc", "flatten", "chformal -lower", "async2sync", "opt_clean",
    "setundef -undriven -anyseq", "setundef -init -zero", "formalff -clk2ff", "opt -full", "simplemap", "dffunmap",
    "aigmap", "opt_clean",
)  # fmt: skip
_DIFFER = re.compile(r"was asserted in frame (\d+)")
_EQUAL = ("Property proved", "Explored all reachable states")


@dataclass(frozen=True)
class Answer:
    """What came out: `equal` for all time, `different` after some cycles, or `open` at the time limit; and where."""

    kind: str
    module: str
    cycles: int = 0


@dataclass(frozen=True)
class _Memory:
    name: str
    width: int
    address_bits: int
    reads: int
    writes: int


@dataclass(frozen=True)
class _Copy:
    """What one copy has for ports, by name with their bits, and for memories that were cut out."""

    inputs: dict[str, int]
    outputs: dict[str, int]
    memories: list[_Memory]


def scopes(design: Hierarchy, module: str, most_modules: int) -> Iterator[tuple[str, set[str]]]:
    """Yield what is asked in turn: a module, and which of those in it are there; the others are cut out."""
    asked: list[tuple[str, set[str]]] = []
    for outer in design.around(module):
        for names in (design.between(outer, module), design.below(outer)):
            if (outer, names) not in asked and len(names) <= most_modules:
                asked.append((outer, names))
    yield from asked


def compare(design: Hierarchy, fault: Mutant, outer: str, names: Collection[str], seconds: int) -> Answer:
    """Compare a module with itself with a fault, or with one in a module in it.

    Parameters
    ----------
    design : Hierarchy
    fault : Mutant
    outer : str
        The module, which has all instances of the fault's.
    names : collection of str
        Modules that are there: it, the fault's, and those between them at least.
    seconds : int
        For the proof; what comes before it takes less than a second for each thousand lines.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = _copied(design, design.text_of(names), outer, "good", folder)
        if copy != _copied(design, design.text_of(names, fault), outer, "faulty", folder):
            return Answer("open", outer)
        (folder / "miter.v").write_text(_miter(copy))
        yosys = libyosys.Design()
        sources = [
            f"read_rtlil {folder}/good.il",
            f"read_rtlil {folder}/faulty.il",
            f"read_verilog -formal {folder}/miter.v",
        ]
        _call(yosys, *sources, *_TO_ANDS, f"write_aiger -I -B -zinit {folder}/miter.aig")
        return _asked(folder, outer, seconds)


def is_equal(design: Hierarchy, fault: Mutant, seconds: int = 20, most_modules: int = 12) -> Answer:
    """Ask module after module; the last answer is given when none is `equal`."""
    answer = Answer("open", fault.module)
    for outer, names in scopes(design, fault.module, most_modules):
        answer = compare(design, fault, outer, names, seconds)
        if answer.kind == "equal":
            break
    return answer


def _call(design: libyosys.Design, *commands: str) -> None:
    for command in commands:
        libyosys.Pass.call(design, f"tee -q {command}")


def _copied(design: Hierarchy, text: str, outer: str, name: str, folder: Path) -> _Copy:
    """Write one copy, flat, without what is cut out."""
    (folder / f"{name}.v").write_text(text)
    yosys, top = libyosys.Design(), outer if outer.isidentifier() else f"\\{outer}"
    _call(
        yosys,
        f"read_verilog {folder}/{name}.v",
        "proc",
        f"hierarchy -top {top}",
        "flatten",
        "memory_collect",
        "memory_map -rom-only",
    )
    (module,) = yosys.modules_.values()
    memories = []
    for cell in sorted(module.cells_.values(), key=lambda cell: cell.name.str()):
        kind = cell.type.str()
        if kind == _MEMORY:
            memories.append(_memory(cell))
            _cut(module, cell, {"RD_ADDR", "WR_EN", "WR_ADDR", "WR_DATA"}, {"RD_DATA"})
        elif kind.startswith("\\"):
            results = design.outputs(kind[1:])
            _cut(module, cell, {port.str()[1:] for port in cell.connections_} - results, results)
    module.fixup_ports()
    wires = {wire.name.str()[1:]: wire for wire in module.wires_.values() if wire.port_input or wire.port_output}
    _call(yosys, f"rename {top} {name}", f"write_rtlil {folder}/{name}.il")
    inputs = {n: wire.width for n, wire in sorted(wires.items()) if wire.port_input}
    return _Copy(inputs, {n: wires[n].width for n in sorted(wires) if n not in inputs}, memories)


def _memory(cell: Any) -> _Memory:
    width, address_bits, reads, writes, clocked = (
        cell.getParam(libyosys.IdString(f"\\{name}")).as_int()
        for name in ("WIDTH", "ABITS", "RD_PORTS", "WR_PORTS", "RD_CLK_ENABLE")
    )
    assert not clocked, "registers behind reads stand outside of the memory"
    return _Memory(cell.name.str()[1:], width, address_bits, reads, writes)


def _cut(module: Any, cell: Any, operands: Collection[str], results: Collection[str]) -> None:
    """Put ports of the module in the place of what stands in it."""
    for port, signal in dict(cell.connections_).items():
        name = port.str()[1:]
        if not signal.size() or name not in {*operands, *results}:
            continue
        wire = module.addWire(libyosys.IdString(f"\\{_place(cell.name.str()[1:], name)}"), signal.size())
        wire.port_input, wire.port_output = name in results, name in operands
        ends = (signal, libyosys.SigSpec(wire)) if name in results else (libyosys.SigSpec(wire), signal)
        module.connect(*ends)
    module.remove(cell)


def _place(cell: str, port: str) -> str:
    return f"cut.{cell}.{port}"


def _miter(copy: _Copy) -> str:
    """Return Verilog of both copies and the question whether what they give differs."""
    read = {_place(m.name, "RD_DATA"): m for m in copy.memories}
    of_memories = {_place(m.name, port) for m in copy.memories for port in ("RD_ADDR", "WR_EN", "WR_ADDR", "WR_DATA")}
    lines = [f"module miter({', '.join(f'i{n}' for n in range(len(copy.inputs)))});"]
    lines += [f"  input [{bits - 1}:0] i{n};" for n, bits in enumerate(copy.inputs.values())]
    ports: dict[str, dict[str, str]] = {"good": {}, "faulty": {}}
    for n, name in enumerate(copy.inputs):
        ports["good"][name] = ports["faulty"][name] = f"i{n}"
    for n, (name, bits) in enumerate(copy.outputs.items()):
        for which, of_copy in ports.items():
            of_copy[name] = f"{which}{n}"
            lines.append(f"  wire [{bits - 1}:0] {which}{n};")
    differ = [f"good{n} != faulty{n}" for n, name in enumerate(copy.outputs) if name not in of_memories]
    for n, (place, memory) in enumerate(read.items()):
        ports["faulty"][place] = f"read{n}"
        lines += _reads(memory, n, place, ports)
        differ += _writes(memory, ports)
    for which, of_copy in ports.items():
        lines.append(f"  {which} {which} ({', '.join(f'.{_escaped(name)}({net})' for name, net in of_copy.items())});")
    return "\n".join([*lines, f"  always @* assert(!({' || '.join(differ)}));", "endmodule", ""])


def _reads(memory: _Memory, number: int, place: str, ports: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield what the faulty copy reads: the same where the address is, anything where it is not."""
    bits = memory.width * memory.reads
    yield f"  wire [{bits - 1}:0] read{number}, any{number} = $anyseq;"
    good, faulty = (ports[which][_place(memory.name, "RD_ADDR")] for which in ("good", "faulty"))
    for port in range(memory.reads):
        address = f"[{port * memory.address_bits} +: {memory.address_bits}]"
        data = f"[{port * memory.width} +: {memory.width}]"
        is_same = f"{good}{address} == {faulty}{address}"
        yield f"  assign read{number}{data} = {is_same} ? {ports['good'][place]}{data} : any{number}{data};"


def _writes(memory: _Memory, ports: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield when what is written, or where, differs."""
    if not memory.writes:
        return
    enable, address, data = (
        [ports[which][_place(memory.name, port)] for which in ("good", "faulty")]
        for port in ("WR_EN", "WR_ADDR", "WR_DATA")
    )
    yield f"{enable[0]} != {enable[1]}"
    yield f"({data[0]} & {enable[0]}) != ({data[1]} & {enable[0]})"
    for port in range(memory.writes):
        place = f"[{port * memory.address_bits} +: {memory.address_bits}]"
        is_on = f"(| {enable[0]}[{port * memory.width} +: {memory.width}])"
        yield f"{is_on} && {address[0]}{place} != {address[1]}{place}"


def _escaped(name: str) -> str:
    return f"\\{name} "


def _asked(folder: Path, outer: str, seconds: int) -> Answer:
    """Ask ABC; what it has merged to nothing needs no proof any more, and is one."""
    merged = folder / "merged.aig"
    script = f"read_aiger {folder}/miter.aig; fold; strash; scorr; write_aiger {merged}; pdr -T {seconds}"
    try:
        result = subprocess.run([_ABC, "-c", script], capture_output=True, text=True, timeout=4 * seconds, check=False)
    except subprocess.TimeoutExpired:
        return Answer("open", outer)
    differ = _DIFFER.search(result.stdout)
    if differ:
        return Answer("different", outer, int(differ[1]))
    is_proved = any(words in result.stdout for words in _EQUAL) or _is_never(merged)
    return Answer("equal" if is_proved else "open", outer)


def _is_never(path: Path) -> bool:
    """Say whether a netlist has one output, which is 0, and nothing else."""
    if not path.exists():
        return False
    head, output, *_ = path.read_bytes().split(b"\n", 2)
    _, _, _, latches, outputs, gates, *bad = head.split()
    return not any(map(int, (latches, gates))) and sum(map(int, (outputs, *bad[:1]))) == 1 and output == b"0"
