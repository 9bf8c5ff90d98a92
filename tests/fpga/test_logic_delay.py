"""Static timing of mapped netlists: paths whose delay follows from a 7-series slice's."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.fpga.devices import FAMILIES
from tilewright.fpga.logic_delay import LogicDelay, logic_delay, read_report
from tilewright.fpga.synthesis import synthesize_rtlil
from tilewright.hw.elaborate import component_rtlil
from tilewright.isa.errors import ToolchainError
from tilewright.sim.rtl.cache import Cache

pytestmark = pytest.mark.fpga

#: Of an Artix-7 slice, in ns: from the clock to a register's output, and from a carry cell's input to its output.
CLOCK_TO_OUTPUT, CARRY = 0.303, 0.114


class Adder(wiring.Component):
    """A registered sum of registered operands."""

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "b": In(width), "sum": Out(width)})
        self.width = width

    def elaborate(self, platform):
        m = Module()
        a, b = Signal(self.width), Signal(self.width)
        m.d.sync += [a.eq(self.a), b.eq(self.b), self.sum.eq(a + b)]
        return m


class Whole(wiring.Component):
    """An adder in a part of its own."""

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "b": In(width), "sum": Out(width)})
        self.part = Adder(width)

    def elaborate(self, platform):
        m = Module()
        m.submodules.part = part = self.part
        m.d.comb += [part.a.eq(self.a), part.b.eq(self.b), self.sum.eq(part.sum)]
        return m


def delay_of(width: int, family: str, folder: Path) -> LogicDelay | None:
    store = Cache(folder)
    found = synthesize_rtlil(component_rtlil(Whole(width), "top"), "top", FAMILIES[family], store)
    return logic_delay(found.netlist, "top", FAMILIES[family], store)


def test_a_longer_sum_takes_its_carries_longer(tmp_path: Path) -> None:
    short, long = delay_of(32, "xc7", tmp_path), delay_of(64, "xc7", tmp_path)
    assert short is not None and long is not None
    assert long.ns - short.ns == pytest.approx((64 - 32) / 4 * CARRY)
    assert (long.path[0].cell, long.path[0].arrival_ns) == ("FDRE", CLOCK_TO_OUTPUT)
    assert sum(step.cell == "CARRY4" for step in long.path) == 64 / 4
    assert long.path[-1].arrival_ns == long.ns and long.ends == ("part", "part")


def test_a_family_without_delays_has_none(tmp_path: Path) -> None:
    assert delay_of(8, "ecp5", tmp_path) is None


def test_a_report_without_a_path_is_an_error() -> None:
    with pytest.raises(ToolchainError, match="gives no path"):
        read_report("Warning: nothing")
