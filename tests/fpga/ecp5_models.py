"""Models of ECP5's cells for simulators: Yosys's, and ours of what it has as black boxes only.

Ours know what synthesis for ECP5 uses: multipliers without registers, or with one of the product; block RAMs without
output registers, which are written through port A and read through either. What is read while it is written is not
what it was before, nor what it is then: hardware promises neither.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyosys

_SHARE = Path(pyosys.__file__).parent / "share" / "lattice"

#: Verilator does not know such a message outside of procedures.
_ELABORATION_ERROR = re.compile(r"\$error\([^;]*\);")

_MULTIPLIER = """\
module MULT18X18D(
  {ports}input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0, output {results}
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  generate
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE" || REG_OUTPUT_CE != "CE0" ||
        REG_OUTPUT_RST != "RST0") unknown_mode_of_MULT18X18D wrong();
  endgenerate
  wire [17:0] a = {{{a}}}, b = {{{b}}};
  wire signed [36:0] left = {{{{19{{SIGNEDA & a[17]}}}}, a}}, right = {{{{19{{SIGNEDB & b[17]}}}}, b}};
  wire signed [36:0] product = left * right;
  reg [35:0] kept = 0;
  always @(posedge CLK0) if (RST0) kept <= 0; else if (CE0) kept <= product[35:0];
  assign {{{results}}} = REG_OUTPUT_CLK == "NONE" ? product[35:0] : kept;
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
  localparam [20479:0] INITIAL = {{{initial_names}}};
  generate
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB" ||
        WRITEMODE_A == "WRITETHROUGH" || WRITEMODE_B == "WRITETHROUGH") unknown_mode_of_DP16KD wrong();
  endgenerate

  reg [8:0] memory [0:2047];
  integer i;
  initial for (i = 0; i < 1024; i = i + 1) begin
    memory[2 * i] = INITIAL[20 * i +: 9];
    memory[2 * i + 1] = INITIAL[20 * i + 9 +: 9];
  end

  function [35:0] fetched(input [13:0] at, input integer width);
    integer lane;
    begin
      fetched = 0;
      if (width < 9) fetched[8:0] = memory[at[13:3]] >> (at[2:0] & ~(width - 1));
      else
        for (lane = 0; lane < width / 9; lane = lane + 1)
          fetched[9 * lane +: 9] = memory[(at[13:3] & ~(width / 9 - 1)) + lane];
    end
  endfunction
  function [8:0] merged(input [8:0] old, input [8:0] given, input [2:0] at, input integer width);
    reg [8:0] mask;
    begin
      mask = ((1 << width) - 1) << (at & ~(width - 1));
      merged = (old & ~mask) | ((given << (at & ~(width - 1))) & mask);
    end
  endfunction

  wire [13:0] a = {{{ad_a}}}, b = {{{ad_b}}};
  wire [17:0] a_given = {{{di_a}}}, b_given = {{{di_b}}};
  reg [35:0] a_read = 0, b_read = 0;
  always @(posedge CLKA) begin
    if (CEA & WEA) begin
      if (DATA_WIDTH_A < 9) memory[a[13:3]] <= merged(memory[a[13:3]], a_given[8:0], a[2:0], DATA_WIDTH_A);
      if (DATA_WIDTH_A == 9) memory[a[13:3]] <= a_given[8:0];
      if (DATA_WIDTH_A == 18 & a[0]) memory[{{a[13:4], 1'b0}}] <= a_given[8:0];
      if (DATA_WIDTH_A == 18 & a[1]) memory[{{a[13:4], 1'b1}}] <= a_given[17:9];
      if (DATA_WIDTH_A == 36 & a[0]) memory[{{a[13:5], 2'd0}}] <= a_given[8:0];
      if (DATA_WIDTH_A == 36 & a[1]) memory[{{a[13:5], 2'd1}}] <= a_given[17:9];
      if (DATA_WIDTH_A == 36 & a[2]) memory[{{a[13:5], 2'd2}}] <= b_given[8:0];
      if (DATA_WIDTH_A == 36 & a[3]) memory[{{a[13:5], 2'd3}}] <= b_given[17:9];
    end
    if (RSTA) a_read <= 0;
    else if (CEA & (~WEA | WRITEMODE_A == "READBEFOREWRITE")) a_read <= fetched(a, DATA_WIDTH_A);
  end
  localparam WIDEST = DATA_WIDTH_A > DATA_WIDTH_B ? DATA_WIDTH_A : DATA_WIDTH_B;
  localparam SHIFT = WIDEST == 36 ? 5 : WIDEST == 18 ? 4 : WIDEST == 9 ? 3 : WIDEST == 4 ? 2 : WIDEST == 2 ? 1 : 0;
  wire [3:0] bytes = DATA_WIDTH_A == 36 ? a[3:0] : DATA_WIDTH_A == 18 ? {{2'b00, a[1:0]}} : 4'b0001;
  wire collides = CEA & WEA & bytes != 0 & a >> SHIFT == b >> SHIFT;
  always @(posedge CLKB) begin
    if (CEB & WEB) $stop;
    if (RSTB) b_read <= 0;
    else if (CEB) b_read <= fetched(b, DATA_WIDTH_B) ^ (collides ? 36'h5a5a5a5a5 : 36'd0);
  end
  assign {{{do_a}}} = DATA_WIDTH_B == 36 ? b_read[17:0] : a_read[17:0];
  assign {{{do_b}}} = DATA_WIDTH_B == 36 ? b_read[35:18] : b_read[17:0];
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


def _without(cells: str, name: str) -> str:
    """Leave a black box out: of two modules of one name, simulators take the first."""
    rest, count = re.subn(rf"^(?:\(\*[^\n]*\n)?module {name}\b.*?^endmodule\n", "", cells, flags=re.M | re.S)
    assert count == 1, f"{count} modules {name}"
    return rest


def ecp5_models() -> str:
    """Return the Verilog of all cells."""
    operands = "".join(f"input {_bits(name, 18)}, " for name in "ABC")
    multiplier = _MULTIPLIER.format(ports=operands, results=_bits("P", 36), a=_bits("A", 18), b=_bits("B", 18))
    names = [f"INITVAL_{i:02X}" for i in range(64)]
    initial = "\n  ".join(f"parameter [319:0] {name} = 0;" for name in names)
    sides = {f"{kind}_{side}": _bits(f"{kind.upper()}{side.upper()}", 14 if kind == "ad" else 18)
             for kind in ("di", "ad", "do") for side in "ab"}  # fmt: skip
    cells = _ELABORATION_ERROR.sub("initial $fatal;", _expanded(_SHARE / "cells_sim_ecp5.v", set()))
    memory = _MEMORY.format(initial=initial, initial_names=", ".join(reversed(names)), **sides)
    return _without(cells, "DP16KD") + multiplier + memory
