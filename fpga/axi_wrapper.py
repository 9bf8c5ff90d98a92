"""The accelerator with ports that vendors' tools know: AXI names, a reset that is active low."""

from __future__ import annotations

from amaranth.hdl import Shape
from amaranth.lib.wiring import Out

from tilewright.hw.axi import AxiLiteSignature, AxiMasterSignature
from tilewright.isa.config import Config

#: The wrapper's module name.
WRAPPER = "tilewright_axi"
ACCELERATOR = "accelerator"

#: What AXI4 has and the accelerator does not care about: constant outputs.
_CONSTANTS = {
    "arlock": (1, 0), "arcache": (4, 0b0011), "arprot": (3, 0), "arqos": (4, 0),
    "awlock": (1, 0), "awcache": (4, 0b0011), "awprot": (3, 0), "awqos": (4, 0),
}  # fmt: skip

#: What AXI4-Lite masters send and the accelerator does not look at.
_IGNORED = {"awprot": 3, "arprot": 3}


def master_ports(config: Config) -> dict[str, tuple[str, int]]:
    """Return direction and width of the memory port's members."""
    return _ports(AxiMasterSignature(config), is_flipped=False)


def slave_ports() -> dict[str, tuple[str, int]]:
    """Return direction and width of the register port's members."""
    return _ports(AxiLiteSignature(), is_flipped=True)


def wrapper(config: Config) -> str:
    """Return the wrapper as Verilog.

    Its ports are `aclk`, `aresetn`, `irq`, `m_axi_*` and `s_axi_*`.
    """
    master, slave = master_ports(config), slave_ports()
    declared = [
        "input wire aclk",
        "input wire aresetn",
        "output wire irq",
        *(_declared(f"m_axi_{name}", *port) for name, port in master.items()),
        *(_declared(f"m_axi_{name}", "output", width) for name, (width, _) in _CONSTANTS.items()),
        *(_declared(f"s_axi_{name}", *port) for name, port in slave.items()),
        *(_declared(f"s_axi_{name}", "input", width) for name, width in _IGNORED.items()),
    ]
    connected = [
        ".clk(aclk)",
        ".rst(reset)",
        ".irq(irq)",
        *(f".m_axi__{name}(m_axi_{name})" for name in master),
        *(f".s_axi__{name}(s_axi_{name})" for name in slave),
    ]
    lines = [
        "// Written by Tilewright; do not edit.",
        "`default_nettype none",
        f"module {WRAPPER} (",
        ",\n".join(f"    {_attribute(line)}{line}" for line in declared),
        ");",
        "  reg reset = 1'b1;",
        "  always @(posedge aclk) reset <= ~aresetn;",
        *(f"  assign m_axi_{name} = {width}'d{value};" for name, (width, value) in _CONSTANTS.items()),
        f"  {ACCELERATOR} accelerator (",
        ",\n".join(f"    {line}" for line in connected),
        "  );",
        "endmodule",
        "`default_nettype wire",
    ]
    return "\n".join(lines) + "\n"


def _ports(signature, *, is_flipped: bool) -> dict[str, tuple[str, int]]:
    return {
        name: ("output" if (member.flow is Out) != is_flipped else "input", Shape.cast(member.shape).width)
        for name, member in signature.members.items()
    }


def _declared(name: str, direction: str, width: int) -> str:
    return f"{direction} wire {f'[{width - 1}:0] ' if width > 1 else ''}{name}"


def _attribute(line: str) -> str:
    """Tell Vivado what clock, reset and interrupt are; it knows AXI by the names."""
    if line.endswith(" aclk"):
        text = 'X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF m_axi:s_axi, ASSOCIATED_RESET aresetn"'
        return f'(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK", {text} *)\n    '
    if line.endswith(" aresetn"):
        text = 'X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW"'
        return f'(* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST", {text} *)\n    '
    if line.endswith(" irq"):
        text = 'X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH"'
        return f'(* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 irq INTERRUPT", {text} *)\n    '
    return ""
