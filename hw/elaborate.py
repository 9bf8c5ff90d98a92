"""From a configuration to Verilog."""

from __future__ import annotations

import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from pyosys import libyosys

from tilewright.hw.accelerator import Accelerator
from tilewright.isa.instructions import InstructionSet


def verilog(isa: InstructionSet, name: str = "accelerator") -> str:
    """Return the accelerator of an instruction set's configuration as Verilog.

    Parameters
    ----------
    isa : InstructionSet
    name : str
        Of the top module.
    """
    return component_verilog(Accelerator(isa), name)


def component_verilog(component: wiring.Component, name: str) -> str:
    """Return any component as Verilog, its ports being those of its signature.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Of the top module.
    """
    text = rtlil.convert(component, name=name, emit_src=False)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(text, encoding="utf-8")
        design = libyosys.Design()
        for command in (f"read_rtlil {source}", "proc", "memory_collect", f"write_verilog -noattr {target}"):
            libyosys.Pass.call(design, f"tee -q {command}")  # run_pass prints every command on stdout
        return target.read_text(encoding="utf-8")
