"""From a configuration to Verilog."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from pyosys import libyosys

from tilewright.hw.accelerator import Accelerator
from tilewright.hw.repeated import Definitions
from tilewright.isa.instructions import InstructionSet

#: Registers with enables and resets as such read, simulate and synthesize better than multiplexers before them; the
#: first `opt_clean` lets `opt_dff` see them.
_PASSES = ("proc", "opt_clean", "memory_collect", "opt_dff -simple-dffe", "opt_clean")

#: Attributes other than what memories are to be made of, which vendors' tools look at.
_OTHER_ATTRIBUTE = re.compile(r"^ *\(\* (?!ram_style\b).*\*\)\n", re.MULTILINE)

_CLEARED_MEMORY = re.compile(
    r"^(?P<indent> *)initial begin\n *(?P<name>\S+) ?\[0\] = (?P<zero>\d+'[bdh]0+);\n"
    r"(?: *(?P=name) ?\[\d+\] = (?P=zero);\n)* *(?P=name) ?\[(?P<last>\d+)\] = (?P=zero);\n *end$",
    re.MULTILINE,
)


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
    return verilog_of_rtlil(component_rtlil(component, name))


def verilog_of_rtlil(text: str) -> str:
    """Return as Verilog what `component_rtlil` gave: a part can be elaborated only once."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(text, encoding="utf-8")
        design = libyosys.Design()
        for command in (f"read_rtlil {source}", *_PASSES, f"write_verilog {target}"):
            libyosys.Pass.call(design, f"tee -q {command}")  # run_pass prints every command on stdout
        return with_short_clearing(_OTHER_ATTRIBUTE.sub("", target.read_text(encoding="utf-8")))


def component_rtlil(component: wiring.Component, name: str) -> str:
    """Return any component in Yosys's own language, which keeps the attributes that synthesis looks at."""
    definitions = Definitions(name)
    return rtlil.convert(component, name=name, platform=definitions, emit_src=False) + "\n" + definitions.rtlil


def with_short_clearing(verilog: str) -> str:
    """Clear memories by a loop instead of a statement a word: simulators' compilers need minutes for thousands."""
    return _CLEARED_MEMORY.sub(_clearing_loop, verilog)


def _clearing_loop(match: re.Match[str]) -> str:
    indent, name = match["indent"], match["name"]
    lines = (
        f"initial begin : clear_{re.sub(r'[^A-Za-z0-9_]', '_', name)}",
        "  integer word;",
        f"  for (word = 0; word <= {match['last']}; word = word + 1) {name} [word] = {match['zero']};",
        "end",
    )
    return "\n".join(indent + line for line in lines)
