"""The Verilog's ports are those that the contract names."""

from __future__ import annotations

import re

from tilewright.hw.elaborate import verilog
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set

_KEYWORDS = {"bit", "byte", "class", "do", "final", "int", "interface", "logic", "new", "priority", "program", "this"}


def declared(text: str, kind: str) -> set[str]:
    return set(re.findall(rf"^  {kind} (?:\[\d+:0\] )?(\S+);", text, re.M))


def test_ports_of_the_top_level():
    text = verilog(instruction_set(PRESETS["tiny"]), "device")
    top = re.search(r"^module device\(.*?^endmodule", text, re.M | re.S)
    assert top
    inputs, outputs = declared(top.group(0), "input"), declared(top.group(0), "output")
    ours = {f"m_axi__{n}" for n in ("arvalid", "araddr", "arlen", "arsize", "arburst", "arid", "rready")}
    ours |= {f"m_axi__{n}" for n in ("awvalid", "awaddr", "awlen", "wvalid", "wdata", "wstrb", "wlast", "bready")}
    ours |= {f"trace__{e}_{w}" for e in ("load", "compute", "store") for w in ("start", "finish")} | {"irq"}
    assert ours <= outputs
    theirs = {f"m_axi__{n}" for n in ("arready", "rvalid", "rdata", "rresp", "rlast", "rid", "awready", "wready")}
    assert theirs | {"m_axi__bvalid", "m_axi__bresp", "s_axi__awaddr", "s_axi__araddr", "clk", "rst"} <= inputs
    assert not any(port.startswith("s_axi__aw") for port in outputs - {"s_axi__awready"})


def test_no_signal_is_named_like_a_keyword_of_systemverilog():
    text = verilog(instruction_set(PRESETS["tiny"]))
    names = declared(text, "reg") | declared(text, "wire") | declared(text, "input") | declared(text, "output")
    assert len(names) > 500
    assert names & _KEYWORDS == set()
