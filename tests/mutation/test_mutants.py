"""Planting faults in Verilog: what is changed, and that all faults are in one text; slow: that tests notice them."""

from __future__ import annotations

import pytest

from tests.mutation.verilog_mutants import chosen, mutants, planted

TEXT = r"""
module top(clk, a, b, q);
  input clk;
  wire clk;
  input [3:0] a;
  wire [3:0] a;
  input [3:0] b;
  wire [3:0] b;
  output [3:0] q;
  reg [3:0] q;
  wire [3:0] total;
  wire _0_;
  assign total = a + b;
  assign _0_ = $signed(a) < $signed(b);
  always @(posedge clk)
    if (_0_) q <= 4'h0;
    else q <= total;
endmodule
module \top.part (clk, x, y);
  input clk;
  wire clk;
  input x;
  output y;
  wire \next$1 ;
  assign \next$1  = ~ x;
  assign y = x ? \next$1  : clk;
  always @(posedge clk)
    if (x) y <= x;
endmodule
"""


def test_every_kind_of_fault_is_found() -> None:
    found = {(m.module, m.kind, m.before, m.after) for m in mutants(TEXT)}
    assert found == {
        ("top", "operator", "a + b", "a - b"),
        ("top", "off_by_one", "a + b", "(a + b) + 4'h1"),
        ("top", "width", "a + b", "(a + b) & 4'h7"),
        ("top", "operator", "$signed(a) < $signed(b)", "$signed(a) <= $signed(b)"),
        ("top", "reset", "_0_", "1'h0"),
        ("top.part", "inverted", "~ x", "x"),
        ("top.part", "choice", r"x ? \next$1  : clk", r"x ? clk : \next$1 "),
        ("top.part", "enable", "x", "!(x)"),
    }


def test_a_choice_takes_each_line_once_and_all_modules() -> None:
    picked = chosen(TEXT, 5, 1)
    assert [m.number for m in picked] == [1, 2, 3, 4, 5]
    assert len({m.line for m in picked}) == 5 and {m.module for m in picked} == {"top", "top.part"}


def test_all_faults_are_in_one_text() -> None:
    picked = chosen(TEXT, 6, 1)
    text = planted(TEXT, picked, "top")
    for mutant in picked:
        assert f"top.mutant == 16'd{mutant.number} ? " in text
    assert text.count("mutant_choice") == 2 and text.count("endmodule") == 2
    assert planted(TEXT, [], "top").replace("\n", "").startswith(TEXT.replace("\n", "")[:200])


@pytest.mark.slow
@pytest.mark.verilator
def test_tests_notice_faults() -> None:
    """Of a hundred and fifty faults, what random programs alone notice; the rest is for `tests.mutation.campaign`."""
    from tests.mutation.campaign import campaign

    made = campaign(150, 1)
    assert not made.noticed_by_programs(0)
    noticed = [fault for fault in made.faults if made.noticed_by_programs(fault.number)]
    assert len(noticed) >= 0.6 * len(made.faults)
