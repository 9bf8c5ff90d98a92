"""Proofs that faults are none: what is equal is proved, what is not never is."""

from __future__ import annotations

import pytest

from tests.mutation.equivalence import compare, is_equal
from tests.mutation.hierarchy import Hierarchy
from tests.mutation.verilog_mutants import Mutant, mutants
from tilewright.hw.elaborate import component_verilog
from tilewright.hw.run_control import RunControl

DESIGN = r"""
module top(clk, rst, x, most, least, we, wa, ra, kind, y, seen);
  input clk;
  wire clk;
  input rst;
  wire rst;
  input [7:0] x;
  wire [7:0] x;
  input [7:0] most;
  wire [7:0] most;
  input [7:0] least;
  wire [7:0] least;
  input we;
  wire we;
  input [3:0] wa;
  wire [3:0] wa;
  input [3:0] ra;
  wire [3:0] ra;
  input [2:0] kind;
  wire [2:0] kind;
  output [7:0] y;
  wire [7:0] y;
  output [7:0] seen;
  wire [7:0] seen;
  wire _0_;
  wire _1_;
  wire [7:0] _2_;
  wire [7:0] written;
  wire go;
  wire may;
  wire _3_;
  wire [2:0] left;
  assign _0_ = $signed(x) > $signed(most);
  assign _1_ = $signed(x) < $signed(least);
  assign _2_ = _0_ ? most : x;
  assign y = _1_ ? least : _2_;
  assign written = we ? y : 8'h00;
  assign go = kind != 3'h0;
  assign may = go & _3_;
  assign _3_ = ~ rst;
  reg [7:0] kept [15:0];
  always @(posedge clk) begin
    if (we)
      kept[wa] <= written;
  end
  assign seen = kept[ra] & { 5'h00, left };
  \top.steps  steps (
    .clk(clk),
    .go(may),
    .is_new(),
    .left(left),
    .rst(rst)
  );
endmodule
module \top.steps (clk, rst, go, is_new, left);
  input clk;
  wire clk;
  input rst;
  wire rst;
  input go;
  wire go;
  output is_new;
  wire is_new;
  output [2:0] left;
  wire [2:0] left;
  reg [2:0] count = 3'h0;
  reg busy = 1'h0;
  wire [2:0] _0_;
  assign _0_ = count - 1'h1;
  always @(posedge clk)
    if (rst) busy <= 1'h0;
    else busy <= go;
  always @(posedge clk)
    if (rst) count <= 3'h0;
    else if (busy) count <= _0_;
    else count <= 3'h5;
  assign is_new = count[0] & busy;
  assign left = busy ? count : 3'h7;
endmodule
"""


def fault(before: str, after: str, place: str, kind: str = "operator") -> Mutant:
    """Return the fault in the one line that has a text."""
    (line,) = [number for number, text in enumerate(DESIGN.splitlines()) if place in text]
    module = "top" if line < DESIGN.splitlines().index("endmodule") else "top.steps"
    return Mutant(1, kind, line, module, before, after)


#: Faults that are none, each with the module where that is proved.
EQUAL = {
    "border": (fault("$signed(x) > $signed(most)", "$signed(x) >= $signed(most)", "> $signed(most)"), "top"),
    "not_written": (fault("we ? y : 8'h00", "y", "assign written"), "top"),
    "reset_of_what_is_loaded": (fault("rst", "1'h0", "if (rst) count", "reset"), "top.steps"),
    "inside": (fault("busy ? count : 3'h7", "busy ? (count & 3'h7) : 3'h7", "assign left"), "top.steps"),
    "not_taken": (fault("count[0] & busy", "count[0] | busy", "assign is_new"), "top"),
    "reset_of_what_is_not_set_then": (fault("rst", "1'h0", "if (rst) busy", "reset"), "top"),
    "not_looked_at": (fault("go & _3_", "go", "assign may"), "top"),
}

#: Faults that can be seen.
DIFFERENT = {
    "choice": fault("_0_ ? most : x", "_0_ ? x : most", "assign _2_", "choice"),
    "order": fault("$signed(x) > $signed(most)", "$signed(x) < $signed(most)", "> $signed(most)"),
    "written": fault("we ? y : 8'h00", "8'h00", "assign written"),
    "read": fault("kept[ra] & { 5'h00, left }", "kept[wa] & { 5'h00, left }", "assign seen"),
    "enable": fault("we", "!(we)", "if (we)", "enable"),
    "after_five_steps": fault("count - 1'h1", "(count - 1'h1) & 3'h3", "assign _0_ = count", "width"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_nobody_can_see_is_proved(name: str) -> None:
    mutant, where = EQUAL[name]
    answer = is_equal(Hierarchy(DESIGN, "top"), mutant)
    assert (answer.kind, answer.module) == ("equal", where)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_fault_is_never_proved_to_be_none(name: str) -> None:
    assert is_equal(Hierarchy(DESIGN, "top"), DIFFERENT[name]).kind == "different"


def test_what_is_around_is_asked_where_an_output_differs() -> None:
    """First a module alone; then the one that has it, where nobody takes what is different."""
    design, mutant = Hierarchy(DESIGN, "top"), EQUAL["not_taken"][0]
    alone = compare(design, mutant, "top.steps", {"top.steps"}, 9)
    assert (alone.kind, alone.into) == ("different", {""})
    assert is_equal(design, mutant).names == {"top", "top.steps"}


def test_what_something_different_goes_into_is_put_back() -> None:
    """`steps` looks at whether it may go in a cycle with a reset, but does not go."""
    design, mutant = Hierarchy(DESIGN, "top"), EQUAL["not_looked_at"][0]
    alone = compare(design, mutant, "top", {"top"}, 9)
    assert (alone.kind, alone.into) == ("different", {"top.steps"})
    assert is_equal(design, mutant).names == {"top", "top.steps"}


def test_of_the_registers_of_run_control_one_needs_no_reset() -> None:
    """Every start clears `is_abandoned`, and nobody looks at it before."""
    design = Hierarchy(component_verilog(RunControl(), "control"), "control")
    resets = [m for m in mutants(design.text) if m.kind == "reset" and m.before == "rst"]
    names = {design.text.splitlines()[m.line].split()[2]: is_equal(design, m).kind for m in resets}
    assert [name for name, kind in names.items() if kind == "equal"] == ["is_abandoned"]
    assert {kind for name, kind in names.items() if name != "is_abandoned"} == {"different"} and len(names) > 4
