"""Components of which a design has many are in its Verilog once."""

from __future__ import annotations

import re

import pytest
from amaranth.back import rtlil

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.hw.dot_product import DotProduct
from tilewright.hw.elaborate import component_verilog
from tilewright.hw.gemm_core import GemmCore
from tilewright.hw.interleaved_bank import InterleavedBank
from tilewright.hw.lookup_table import TableLane
from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.packed_dot_product import PackedDotProduct
from tilewright.hw.repeated import Repeated
from tilewright.hw.requantizer import Requantizer
from tilewright.hw.residual_adder import ResidualAdder
from tilewright.hw.rounding_shift import RoundingShift
from tilewright.hw.row_finish import RowFinish
from tilewright.hw.row_lane import RowLane
from tilewright.hw.vector_alu import VECTOR_DATAPATH, VectorLane
from tilewright.hw.weight_scratchpad import WeightScratchpad
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set

_TINY = PRESETS["tiny"]
REPEATED = (
    DotProduct(_TINY), PackedDotProduct(COMPUTE_CONFIGS["packed"]), MemoryBank(8, 16, read_ports=2),
    InterleavedBank(8, 16, read_ports=2), Requantizer(_TINY), ResidualAdder(_TINY), RoundingShift(20),
    RowFinish(), RowLane(), TableLane(_TINY), VectorLane(instruction_set(_TINY), VECTOR_DATAPATH),
)  # fmt: skip


@pytest.mark.parametrize("component", REPEATED, ids=lambda c: type(c).__name__)
def test_no_register_has_a_reset(component: Repeated):
    """A module that stands for many components knows nothing of the resets of what is around them."""
    text = rtlil.convert(component, emit_src=False)
    assert "\\clk" in text
    uses = [line for line in text.splitlines() if re.search(r"\\rst\b", line)]
    assert all(re.match(r" *(wire|connect) .*\\rst( \\rst)?( \[0\])?$", line) for line in uses), uses


def test_one_module_for_many():
    text = component_verilog(GemmCore(_TINY), "core")
    assert len(re.findall(r"^module \\core\.DotProduct\d+ ", text, re.M)) == 1
    assert len(re.findall(r"^  \\core\.DotProduct\d+ +dot", text, re.M)) == _TINY.acc_lanes


def test_modules_of_different_kinds():
    class Two(GemmCore):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            for i, width in enumerate((8, 16, 8)):
                m.submodules[f"bank{i}"] = MemoryBank(width, 4)
            return m

    text = component_verilog(Two(_TINY), "two")
    assert len(re.findall(r"^module \\two\.MemoryBank", text, re.M)) == 2


def test_memories_are_cleared_by_loops():
    text = component_verilog(WeightScratchpad(_TINY), "weights")
    loops = re.findall(r"for \(word = 0; word <= (\d+); word = word \+ 1\) memory \[word\] = \d+'\w0+;", text)
    assert [int(last) + 1 for last in loops] == [_TINY.wgt_depth]
    assert not re.search(r"\[\d+\] = \d+'\w0+;", text)
