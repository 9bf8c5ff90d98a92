"""Clocks of lanes that rest: which lanes have them, and that none is given where anything changes without an enable."""

from __future__ import annotations

import re

import pytest

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tests.hw.row_configs import ROW_CONFIGS
from tilewright.hw.elaborate import verilog
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.sim.rtl.resting_clocks import with_resting_clocks

_TOP = "accelerator"
_ALL = ("Requantizer", "ResidualAdder", "RowLane", "VectorLane")

#: Configuration, kinds of lanes that it has.
CONFIGS = [
    (PRESETS["tiny"], ("Requantizer", "ResidualAdder", "VectorLane")),
    (PRESETS["tiny"].with_values(epilogue={"residual": False}), ("Requantizer", "VectorLane")),
    (ROW_CONFIGS["tiny"], _ALL),
    (COMPUTE_CONFIGS["interval2"], ("Requantizer", "ResidualAdder", "VectorLane")),
]


@pytest.fixture(scope="module")
def design() -> str:
    return verilog(instruction_set(ROW_CONFIGS["tiny"]), _TOP)


@pytest.mark.parametrize(("config", "kinds"), CONFIGS, ids=["tiny", "no_residual", "rows", "interval2"])
def test_lanes_get_clocks(config, kinds: tuple[str, ...]) -> None:
    text = verilog(instruction_set(config), _TOP)
    changed, clocks = with_resting_clocks(text, _TOP)
    assert clocks == kinds
    for kind in kinds:
        lanes = len(re.findall(rf"^  \\{_TOP}\.{kind}\d+ ", text, re.M))
        assert lanes and changed.count(f".clk({_TOP}.clk_{kind})") == lanes
        assert re.search(rf"^module {_TOP}\([^;]*\bclk_{kind}, en_{kind}\b[^;]*\);$", changed, re.M)
    assert changed.count(".clk(clk)") == text.count(".clk(clk)") - changed.count(f".clk({_TOP}.clk_")


@pytest.mark.parametrize("kind", _ALL)
def test_a_register_without_an_enable_keeps_its_kind_on_the_common_clock(design: str, kind: str) -> None:
    start = re.search(rf"^module \\{_TOP}\.{kind}\d+ ", design, re.M)
    assert start is not None
    first = design.index("if (en[0]) ", start.start())
    changed = design[:first] + design[first:].replace("if (en[0]) ", "", 1)
    assert with_resting_clocks(changed, _TOP)[1] == tuple(name for name in _ALL if name != kind)


def test_a_register_inside_counts_too(design: str) -> None:
    start = re.search(rf"^module \\{_TOP}\.RoundingShift\d+ ", design, re.M)
    assert start is not None
    first = re.compile(r"if \(en\[0\]\)\s").search(design, start.start())
    assert first is not None
    changed = design[: first.start()] + "if (shift[0]) " + design[first.end() :]
    assert len(with_resting_clocks(changed, _TOP)[1]) == len(_ALL) - 1


#: What stands in the lane of the vector unit, and what would make a register there change while no enable is high.
UNSOUND = [
    (r"(if \(en\[2\]\) value2 <= \w+;)", r"\1\n    else value2 <= value1;"),
    (r"assign (_\d+_) = en\[3\] & (_\d+_);", r"assign \1 = en[3] & \2 | first;"),
    (r"assign (_\d+_) = en\[3\] & (_\d+_);", r"assign \1 = en[3] ? \2 : first;"),
    (r"if \(en\[2\]\) (value2 <= )", r"if (\\en$19 ) \1"),
]


@pytest.mark.parametrize(("found", "replaced"), UNSOUND, ids=["else", "or", "choice", "other_signal"])
def test_a_register_that_changes_without_its_enable_is_seen(design: str, found: str, replaced: str) -> None:
    start = design.index(f"module \\{_TOP}.VectorLane")
    changed, count = re.subn(found, replaced, design[start:], count=1)
    assert count == 1
    kinds = with_resting_clocks(design[:start] + changed, _TOP)[1]
    assert kinds == tuple(name for name in _ALL if name != "VectorLane")


def test_a_design_without_lanes_stays() -> None:
    text = "module accelerator(clk, irq);\n  input clk;\n  output irq;\nendmodule\n"
    assert with_resting_clocks(text, _TOP) == (text, ())
