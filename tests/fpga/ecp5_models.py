"""Models of ECP5's cells for simulators: Yosys's, and ours of what it has as black boxes only.

Ours know what synthesis for ECP5 uses: multipliers without registers; block RAMs without output registers, with one
write port and one read port of the same width.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyosys

_SHARE = Path(pyosys.__file__).parent / "share" / "lattice"

#: Verilator does not know such a message outside of procedures.
_ELABORATION_ERROR = re.compile(r"\$error\([^;]*\);")

_MULTIPLIER = """\
module MULT18X18D({ports}input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, output {results});
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  wire [17:0] a = {{{a}}}, b = {{{b}}};
  wire signed [36:0] left = {{{{19{{SIGNEDA & a[17]}}}}, a}}, right = {{{{19{{SIGNEDB & b[17]}}}}, b}};
  wire signed [36:0] product = left * right;
  assign {{{results}}} = product[35:0];
endmodule
"""

_MEMORY = """\
module DP16KD(
  input {di_a}, {ad_a}, CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0, {di_b}, {ad_b}, CEB, OCEB, CLKB, WEB, RSTB,
    CSB2, CSB1, CSB0,
  output {do_a}, {do_b}
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", GSR = "AUTO";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  {initial}
  localparam SHIFT = DATA_WIDTH_A == 36 ? 5 : DATA_WIDTH_A == 18 ? 4 : DATA_WIDTH_A == 9 ? 3 : DATA_WIDTH_A == 4 ? 2 :
    DATA_WIDTH_A == 2 ? 1 : 0;
  reg [35:0] memory [0:16383];
  integer i;
  initial begin
    for (i = 0; i < 16384; i = i + 1) memory[i] = 0;
    if (DATA_WIDTH_A != DATA_WIDTH_B) $fatal;
  end
  wire [13:0] a = {{{ad_a}}}, b = {{{ad_b}}};
  wire [35:0] given = {{{di_b}, {di_a}}};
  wire [3:0] enables = DATA_WIDTH_A == 36 ? a[3:0] : DATA_WIDTH_A == 18 ? {{2'b00, a[1:0]}} : 4'b0001;
  reg [35:0] a_read = 0, b_read = 0;
  always @(posedge CLKA) begin
    if (CEA & ~WEA) a_read <= memory[a >> SHIFT];
    if (CEA & WEA) begin
      for (i = 0; i < 4; i = i + 1) if (enables[i]) memory[a >> SHIFT][9 * i +: 9] <= given[9 * i +: 9];
    end
  end
  always @(posedge CLKB) begin
    if (CEB) b_read <= memory[b >> SHIFT];
    if (WEB) $fatal;
  end
  assign {{{do_a}}} = DATA_WIDTH_A == 36 ? b_read[17:0] : a_read[17:0];
  assign {{{do_b}}} = DATA_WIDTH_A == 36 ? b_read[35:18] : b_read[17:0];
endmodule
"""


def _bits(name: str, count: int) -> str:
    return ", ".join(f"{name}{i}" for i in reversed(range(count)))


def _expanded(path: Path, seen: set[str]) -> str:
    """Put files in place of their `include` lines, each once."""

    def included(match: re.Match[str]) -> str:
        name = match["name"]
        if name in seen:
            return ""
        seen.add(name)
        return _expanded(path.parent / name, seen)

    return re.sub(r'^ *`include "(?P<name>[^"]+)"', included, path.read_text(), flags=re.M)


def ecp5_models() -> str:
    """Return the Verilog of all cells."""
    operands = "".join(f"input {_bits(name, 18)}, " for name in "ABC")
    multiplier = _MULTIPLIER.format(ports=operands, results=_bits("P", 36), a=_bits("A", 18), b=_bits("B", 18))
    initial = "\n  ".join(f"parameter [319:0] INITVAL_{i:02X} = 0;" for i in range(64))
    sides = {f"{kind}_{side}": _bits(f"{kind.upper()}{side.upper()}", 14 if kind == "ad" else 18)
             for kind in ("di", "ad", "do") for side in "ab"}  # fmt: skip
    cells = _ELABORATION_ERROR.sub("initial $fatal;", _expanded(_SHARE / "cells_sim_ecp5.v", set()))
    return cells + multiplier + _MEMORY.format(initial=initial, **sides)
