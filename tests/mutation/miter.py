"""One netlist of two copies of a part of a design, one with a fault, and of the questions whether they differ.

Inputs can do anything, but for one thing that is assumed: a reset of the hardware lasts `RESET_CYCLES` or more, as it
does in simulation and as AXI's do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyosys import libyosys

from tests.mutation.hierarchy import Hierarchy
from tests.mutation.verilog_mutants import Mutant

_MEMORY = "$mem_v2"
_FLAT = ("proc", "hierarchy -top {top}", "flatten", "memory_collect", "memory_map -rom-only")
#: What is undefined can be anything in each copy; registers without an initial value begin at 0, as in simulation.
_TO_ANDS = (
    "hierarchy -top miter", "proc", "flatten", "chformal -lower", "async2sync", "opt_clean",
    "setundef -undriven -anyseq", "setundef -init -zero", "formalff -clk2ff", "opt -full", "alumacc", "techmap",
    "simplemap", "dffunmap", "aigmap", "opt_clean",
)  # fmt: skip
#: Cycles that a reset of the hardware lasts at least.
RESET_CYCLES = 4
_AXI = re.compile(r"(?P<channel>\w*axi__(?:ar|aw|w|r|b))(?!valid$|ready$)\w+")
_ADDRESS, _DATA, _WRITTEN = "RD_ADDR", "RD_DATA", ("WR_EN", "WR_ADDR", "WR_DATA")


@dataclass(frozen=True)
class _Memory:
    name: str
    width: int
    address_bits: int
    reads: int
    writes: int


@dataclass(frozen=True)
class _Copy:
    """A copy's ports, by name with their bits; memories that were cut out; the modules of what else was, by port."""

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    memories: tuple[_Memory, ...]
    owners: Mapping[str, str]


def write_miter(
    design: Hierarchy, fault: Mutant, outer: str, names: Collection[str], folder: Path
) -> tuple[str, ...] | None:
    """Write `miter.aig`, with an output for each question whether something differs.

    Parameters
    ----------
    design : Hierarchy
    fault : Mutant
    outer : str
        The module that is copied; it has all instances of the fault's.
    names : collection of str
        Modules that are there: it, the fault's, and those between them at least. The others in it are cut out.
    folder : Path

    Returns
    -------
    tuple of str or None
        For each output, in which module goes what differs, if that is one that was cut out; else empty. None where
        the fault changes what there is to compare.
    """
    copy = _copied(design, design.text_of(names), outer, "good", folder)
    if copy != _copied(design, design.text_of(names, fault), outer, "faulty", folder):
        return None
    text, owners = _miter(copy)
    (folder / "miter.v").write_text(text)
    sources = [
        f"read_rtlil {folder}/good.il",
        f"read_rtlil {folder}/faulty.il",
        f"read_verilog -formal {folder}/miter.v",
    ]
    _call(libyosys.Design(), *sources, *_TO_ANDS, f"write_aiger -symbols -I -zinit {folder}/miter.aig")
    symbols = (folder / "miter.aig").read_bytes().splitlines()
    assert len(owners) == 1 or all(f"o{n} differ[{n}]".encode() in symbols for n in range(len(owners)))
    return owners


def _call(design: libyosys.Design, *commands: str) -> None:
    for command in commands:
        libyosys.Pass.call(design, f"tee -q {command}")


def _copied(design: Hierarchy, text: str, outer: str, name: str, folder: Path) -> _Copy:
    """Write one copy, flat, without what is cut out."""
    (folder / f"{name}.v").write_text(text)
    yosys, top = libyosys.Design(), outer if outer.isidentifier() else f"\\{outer}"
    _call(yosys, f"read_verilog {folder}/{name}.v", *(command.format(top=top) for command in _FLAT))
    (module,) = yosys.modules_.values()
    memories, owners = [], {}
    for cell in sorted(module.cells_.values(), key=lambda cell: cell.name.str()):
        kind = cell.type.str()
        if kind == _MEMORY:
            memories.append(_memory(cell))
            _cut(module, cell, {_ADDRESS, *_WRITTEN}, {_DATA})
        elif kind.startswith("\\"):
            results, ports = design.outputs(kind[1:]), [port.str()[1:] for port in cell.connections_]
            owners |= {_place(cell.name.str()[1:], port): kind[1:] for port in ports}
            _cut(module, cell, set(ports) - results, results)
    module.fixup_ports()
    wires = {wire.name.str()[1:]: wire for wire in module.wires_.values() if wire.port_input or wire.port_output}
    _call(yosys, f"rename {top} {name}", f"write_rtlil {folder}/{name}.il")
    inputs = {n: wire.width for n, wire in sorted(wires.items()) if wire.port_input}
    outputs = {n: wire.width for n, wire in sorted(wires.items()) if not wire.port_input}
    return _Copy(inputs, outputs, tuple(memories), owners)


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


def _miter(copy: _Copy) -> tuple[str, tuple[str, ...]]:
    """Return Verilog of both copies and the questions, and where goes what they ask for."""
    lines = [f"  input [{bits - 1}:0] i{n};" for n, bits in enumerate(copy.inputs.values())]
    ports: dict[str, dict[str, str]] = {"good": {}, "faulty": {}}
    for n, name in enumerate(copy.inputs):
        ports["good"][name] = ports["faulty"][name] = f"i{n}"
    for n, (name, bits) in enumerate(copy.outputs.items()):
        for which, of_copy in ports.items():
            of_copy[name] = f"{which}{n}"
            lines.append(f"  wire [{bits - 1}:0] {which}{n};")
    of_memories = {_place(m.name, port) for m in copy.memories for port in (_ADDRESS, *_WRITTEN)}
    compared = [name for name in copy.outputs if name not in of_memories]
    questions = [_differs(name, ports) for name in compared]
    for n, memory in enumerate(copy.memories):
        lines += _reads(memory, n, ports)
        questions += _writes(memory, ports)
    for which, of_copy in ports.items():
        lines.append(f"  {which} {which} ({', '.join(f'.{_escaped(name)}({net})' for name, net in of_copy.items())});")
    head = f"module miter({', '.join(f'i{n}' for n in range(len(copy.inputs)))}, differ);"
    end = [f"  output [{len(questions) - 1}:0] differ;"]
    end += [f"  assign differ[{n}] = {question};" for n, question in enumerate(questions)]
    lines += _long_resets(ports["good"])
    owners = [copy.owners.get(name, "") for name in compared]
    text = "\n".join([head, *lines, *end, "endmodule", ""])
    return text, (*owners, *[""] * (len(questions) - len(owners)))


def _differs(name: str, ports: Mapping[str, Mapping[str, str]]) -> str:
    """Return whether an output differs; on a channel of AXI, nobody looks at it without `valid`."""
    good, faulty = (ports[which] for which in ("good", "faulty"))
    channel = _AXI.fullmatch(name)
    valid = good.get(f"{channel['channel']}valid", "1") if channel else "1"
    return f"{valid} && {good[name]} != {faulty[name]}"


def _long_resets(ports: Mapping[str, str]) -> Iterator[str]:
    """Yield the assumption about the reset, if there is one."""
    clk, rst = ports.get("clk"), ports.get("rst")
    if clk and rst:
        yield "  reg [2:0] lasted = 3'd0;"
        yield f"  always @(posedge {clk}) lasted <= {rst} ? lasted + (lasted != {RESET_CYCLES}) : 0;"
        yield f"  always @* assume({rst} || lasted == 0 || lasted == {RESET_CYCLES});"


def _reads(memory: _Memory, number: int, ports: Mapping[str, dict[str, str]]) -> Iterator[str]:
    """Yield what the faulty copy reads: the same where the address is, anything where it is not."""
    bits = memory.width * memory.reads
    if not bits:
        return
    yield f"  wire [{bits - 1}:0] read{number}, any{number} = $anyseq;"
    good, faulty = (ports[which][_place(memory.name, _ADDRESS)] for which in ("good", "faulty"))
    place = _place(memory.name, _DATA)
    for port in range(memory.reads):
        address = f"[{port * memory.address_bits} +: {memory.address_bits}]"
        data = f"[{port * memory.width} +: {memory.width}]"
        is_same = f"{good}{address} == {faulty}{address}"
        yield f"  assign read{number}{data} = {is_same} ? {ports['good'][place]}{data} : any{number}{data};"
    ports["faulty"][place] = f"read{number}"


def _writes(memory: _Memory, ports: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield whether what is written, or where, differs."""
    if not memory.writes:
        return
    enable, address, data = (
        [ports[which][_place(memory.name, port)] for which in ("good", "faulty")] for port in _WRITTEN
    )
    yield f"{enable[0]} != {enable[1]}"
    yield f"({data[0]} & {enable[0]}) != ({data[1]} & {enable[0]})"
    for port in range(memory.writes):
        place = f"[{port * memory.address_bits} +: {memory.address_bits}]"
        is_on = f"(| {enable[0]}[{port * memory.width} +: {memory.width}])"
        yield f"{is_on} && {address[0]}{place} != {address[1]}{place}"


def _escaped(name: str) -> str:
    return f"\\{name} "
