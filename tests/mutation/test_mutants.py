"""Planting faults in Verilog: what is changed, and that all faults are in one text; slow: that tests notice them."""

from __future__ import annotations

import pytest

from tests.mutation.module_text import ModuleText
from tests.mutation.unseen import reason_unseen
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


RESETS = r"""
module \top.pipe (rst, clear, d, flags_1, level, spare, clk);
  input d;
  output flags_1;
  reg flags_1 = 1'h0;
  reg [2:0] level = 3'h0;
  reg [7:0] spare = 8'h00;
  wire [3:0] _0_;
  wire _1_;
  assign _0_ = level + d;
  always @(posedge clk)
    if (_1_) flags_1 <= 1'h0;
    else flags_1 <= d;
  always @(posedge clk)
    if (_2_) level <= 3'h0;
    else level <= _0_[2:0];
  always @(posedge clk)
    if (_3_) spare <= 8'h00;
    else if (d) spare <= 8'h11;
  assign _1_ = | { rst, clear };
  assign _2_ = | { rst, clear };
  assign _3_ = | { rst, clear };
endmodule
"""


def test_faults_that_nobody_can_see_are_left_out() -> None:
    """Of the resets only that of the level is one; of the sum's bits only those that are taken."""
    found = {(m.kind, m.before, m.after) for m in mutants(RESETS)}
    assert found == {
        ("reset", "_2_", "1'h0"),
        ("operator", "| { rst, clear }", "& { rst, clear }"),
        ("operator", "level + d", "level - d"),
        ("off_by_one", "level + d", "(level + d) + 3'h1"),
        ("width", "level + d", "(level + d) & 3'h3"),
    }
    cleared = [m.line for m in mutants(RESETS) if "rst" in m.before]
    assert [RESETS.splitlines()[line].split()[1] for line in cleared] == ["_2_"]


SOME_LINES = r"""
  assign _1_ = | { rst, clear };
  assign input__ready = has_room;
  assign \active.vector  = _v_;
  assign \active.row  = _r_;
  assign _5_ = waiting + response;
  assign _6_ = waiting - response;
    if (_1_) last <= 1'h0;
    else if (load) last <= single;
    if (_1_) left <= 5'h00;
    else if (load) left <= most;
    if (_1_) has_room <= 1'h1;
    else if (load) has_room <= single;
""".splitlines()


@pytest.mark.parametrize(
    ("module", "kind", "target", "before", "is_unseen"),
    [
        ("a.compute.sequencer", "reset", "last", "_1_", True),
        ("a.compute.sequencer", "reset", "left", "_1_", False),
        ("a.compute.window_sequencer", "reset", "last", "_1_", False),
        ("a.fetch", "reset", "left", "_1_", True),
        ("a.store.signals", "reset", "has_room", "_1_", True),
        ("a.load.signals", "reset", "has_room", "_1_", False),
        ("a.store.signals", "reset", "last", "_1_", False),
        ("a.compute.operand_pipe", "operator", "_2_", "_v_ | _r_", True),
        ("a.compute.operand_pipe", "operator", "_2_", "step[0] & _v_", True),
        ("a.compute.operand_pipe", "operator", "_2_", "step[0] & _r_", False),
        ("a.compute.operand_pipe", "inverted", "_2_", "_v_ | _r_", False),
        ("a.compute.decoder", "operator", "_2_", "_v_ | _r_", False),
        ("a.compute.window_sequencer", "width", "_2_", "left_out2 - 1'h1", True),
        ("a.compute.window_sequencer", "width", "_2_", "left_out1 - 1'h1", False),
        ("a.compute.window_sequencer", "off_by_one", "_2_", "left_out2 - 1'h1", False),
        ("a.write_port", "width", "_2_", "sent + 1'h1", True),
        ("a.read_port", "width", "_2_", "sent + 1'h1", False),
        ("a.write_port", "width", "_2_", "waiting + response", True),
        ("a.write_port", "width", "_2_", "_5_ - matched", True),
        ("a.write_port", "width", "_2_", "_6_ - matched", False),
        ("a.write_port", "operator", "_2_", "waiting + response", False),
    ],
)
def test_rules_are_for_what_they_name(module: str, kind: str, target: str, before: str, is_unseen: bool) -> None:
    assert bool(reason_unseen(ModuleText(module, SOME_LINES), kind, target, before)) == is_unseen


@pytest.mark.slow
@pytest.mark.verilator
def test_ci_notices_faults() -> None:
    from tests.mutation.campaign import campaign, outcomes

    found = [outcome for outcome in outcomes(campaign(100, 2), 100) if not outcome.is_equal]
    missed = [outcome for outcome in found if not outcome.noticed]
    assert len(found) == 100 and len(missed) <= 0.05 * len(found), missed
