"""The area of an ASIC: synthesis by Yosys (pyosys) to the standard cells of a Liberty file.

Gates are all that is counted: there are no wires, no clock tree, no buffers for fan-out, nothing is placed, and
memories that an SRAM would be are told by their bits.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tilewright.fpga.cells import LATCH
from tilewright.fpga.hierarchy import ModuleUse, cells_by_module, module_uses, primitives, with_submodules
from tilewright.fpga.liberty import Cell, LibertyError, Library
from tilewright.fpga.memories import sram_selection
from tilewright.fpga.store import Store, content_key
from tilewright.fpga.synthesis import STAGE, TOP, SynthesisError, parts_script, run_yosys, tool_version
from tilewright.hw.accelerator import Accelerator
from tilewright.hw.elaborate import component_rtlil
from tilewright.isa.instructions import InstructionSet

#: Memories of at most so many bits become flip-flops and multiplexers: an SRAM so small is mostly its decoder and its
#: amplifiers. So do larger ones that are read in the cycle of the address, in which no SRAM answers.
MOST_GATE_BITS = 1024

_LIBRARY, _STATISTICS, _MEMORIES, _NETLIST = "cells.lib", "stat.json", "memories.il", "netlist.v"
_NOT_COUNTED = ("$mem_v2", "$scopeinfo")  # memories; what a part was flattened from
_MODULE_OR_SIZE = re.compile(r"^ *(?:module \\(?P<module>\S+)|parameter \\(?P<name>WIDTH|SIZE) (?P<value>\d+))$", re.M)


@dataclass(frozen=True)
class GateArea:
    """What standard cells take; areas are in the library's unit.

    Attributes
    ----------
    combinational, sequential : float
        Of gates, and of flip-flops.
    flip_flops : int
    memory_bits : int
        Of memories that stay memories, which are in no area.
    """

    combinational: float = 0
    sequential: float = 0
    flip_flops: int = 0
    memory_bits: int = 0

    @property
    def total(self) -> float:
        """Of gates and flip-flops."""
        return self.combinational + self.sequential

    def __add__(self, other: GateArea) -> GateArea:
        return GateArea(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, count: int) -> GateArea:
        return GateArea(*(getattr(self, f.name) * count for f in fields(self)))


@dataclass(frozen=True)
class AsicSynthesis:
    """What synthesis to standard cells gave.

    Attributes
    ----------
    tool, version, stage : str
        Where the figures are from.
    library : str
        The name in the Liberty file.
    nand2 : Cell
        Its smallest NAND of two inputs, in which areas are told.
    total : GateArea
    modules : tuple of ModuleUse
        Those that take anything, largest first.
    cells : mapping of str to int
        Standard cells of the whole design, by name.
    netlist : Path
        The mapped netlist as Verilog, hierarchical.
    """

    tool: str
    version: str
    stage: str
    library: str
    nand2: Cell
    total: GateArea
    modules: tuple[ModuleUse[GateArea], ...]
    cells: Mapping[str, int]
    netlist: Path

    def gates(self, area: float) -> float:
        """Return an area in NAND2 equivalents."""
        return area / self.nand2.area


def synthesize_gates(isa: InstructionSet, library: Library, store: Store) -> AsicSynthesis:
    """Synthesize the accelerator to a library's cells; what was synthesized before comes from the store.

    Raises
    ------
    ToolchainError
        If Yosys fails.
    SynthesisError
        If there are latches.
    LibertyError
        If the library lacks a cell, or the area of one.
    """
    return synthesize_rtlil_gates(component_rtlil(Accelerator(isa), TOP), TOP, library, store)


def synthesize_rtlil_gates(rtlil: str, top: str, library: Library, store: Store) -> AsicSynthesis:
    """Synthesize a design in Yosys's own language; see `synthesize_gates`."""
    key = content_key((rtlil, *_commands(rtlil, top, Path()), library.text, tool_version()))

    def make(work: Path) -> None:
        (work / _LIBRARY).write_text(library.text, encoding="utf-8")
        run_yosys(rtlil, _commands(rtlil, top, work), work)
        (work / _LIBRARY).unlink()

    return _read(store.get(key, make), top, library)


def _commands(rtlil: str, top: str, folder: Path) -> tuple[str, ...]:
    return (
        *parts_script(rtlil, top, folder),
        "rename -hide w:*",  # names such as `data[0]` beside `data` clash when ABC's results are taken over
        f"synth -top {top} -booth -run coarse:fine",  # its multipliers are smaller than Yosys's others
        "opt -fast -full",
        f"memory_map t:$mem_v2 {sram_selection(MOST_GATE_BITS)} %d",
        "opt -full",
        "techmap",
        "opt -fast",
        f"dfflibmap -liberty {folder / _LIBRARY}",
        f"abc -liberty {folder / _LIBRARY}",
        "opt_clean",
        f"tee -q -o {folder / _MEMORIES} dump -m t:$mem_v2",
        f"tee -q -o {folder / _STATISTICS} stat -json -liberty {folder / _LIBRARY} -top {top}",
        f"write_verilog -noattr {folder / _NETLIST}",
    )


def _read(folder: Path, top: str, library: Library) -> AsicSynthesis:
    """Add the modules up, each as often as there are instances of it."""
    modules = cells_by_module(json.loads((folder / _STATISTICS).read_text()))
    bits = memory_bits((folder / _MEMORIES).read_text())
    own = {name: _own(cells, modules, library) + GateArea(memory_bits=bits[name]) for name, cells in modules.items()}
    uses = module_uses(modules, own, top, GateArea())
    uses.sort(key=lambda use: -use.count * use.own.total)
    total = with_submodules(modules, own, top, GateArea())
    cells = {name: number for name, number in primitives(modules, top).items() if name not in _NOT_COUNTED}
    return AsicSynthesis(
        "yosys",
        tool_version(),
        STAGE,
        library.name,
        library.nand2,
        total,
        tuple(uses),
        cells,
        folder / _NETLIST,
    )


def memory_bits(dumped: str) -> Counter[str]:
    """Return the bits of the memories in each module of what `dump -m t:$mem_v2` wrote."""
    bits: Counter[str] = Counter()
    module, sizes = "", {}
    for found in _MODULE_OR_SIZE.finditer(dumped):
        if found["module"]:
            module = found["module"]
            continue
        sizes[found["name"]] = int(found["value"])
        if len(sizes) == 2:
            bits[module] += sizes["WIDTH"] * sizes["SIZE"]
            sizes.clear()
    return bits


def _own(cells: Mapping[str, int], modules: Mapping[str, object], library: Library) -> GateArea:
    total = GateArea()
    for name, number in cells.items():
        if name not in modules and name not in _NOT_COUNTED:
            total += _area(name, library) * number
    return total


def _area(name: str, library: Library) -> GateArea:
    cell = library.cells.get(name)
    if LATCH.fullmatch(name) or (cell is not None and cell.is_latch):
        raise SynthesisError(f"synthesis for `{library.name}` made latches ({name})")
    if cell is None:
        raise LibertyError(f"library `{library.name}` has no cell that {name} could become")
    if cell.area <= 0:
        raise LibertyError(f"library `{library.name}` gives no area for cell `{name}`, which synthesis takes")
    return GateArea(sequential=cell.area, flip_flops=1) if cell.is_flip_flop else GateArea(combinational=cell.area)
