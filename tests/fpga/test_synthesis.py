"""Synthesis of small parts: what they become, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.fpga.devices import FAMILIES, Resources, find_device
from tilewright.fpga.logic_delay import LogicDelay, LogicStep
from tilewright.fpga.report import SynthesisReport
from tilewright.fpga.synthesis import STAGE, Synthesis, SynthesisError, synthesize_rtlil, tool_version
from tilewright.hw.elaborate import component_rtlil
from tilewright.hw.epilogue import Epilogue
from tilewright.hw.gemm_core import GemmCore
from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.vector_alu import VECTOR_DATAPATH, VectorLane
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ToolchainError
from tilewright.isa.instructions import instruction_set
from tilewright.sim.rtl.cache import Cache

pytestmark = pytest.mark.fpga
PLAIN = PRESETS["tiny"].with_values(depthwise={"enabled": False})
PACKED = PLAIN.with_values(gemm={"packed": True, "cascade": 2})


class Twice(wiring.Component):
    """Two parts that are alike, and a register."""

    def __init__(self) -> None:
        super().__init__({"address": In(9), "enable": In(1), "data": Out(36)})

    def elaborate(self, platform):
        m = Module()
        banks = [MemoryBank(36, 512) for _ in range(2)]
        for i, bank in enumerate(banks):
            m.submodules[f"bank{i}"] = bank
            m.d.comb += [
                bank.write.addr.eq(self.address),
                bank.write.en.eq(self.enable),
                bank.write.data.eq(self.data),
                bank.read[0].addr.eq(self.address),
                bank.read[0].en.eq(1),
            ]
        total = Signal(36)
        m.d.sync += total.eq(banks[0].read[0].data + banks[1].read[0].data)
        m.d.comb += self.data.eq(total)
        return m


def synthesized(part: wiring.Component, family: str, folder: Path) -> Synthesis:
    return synthesize_rtlil(component_rtlil(part, "part"), "part", FAMILIES[family], Cache(folder))


@pytest.mark.parametrize(("family", "rams"), [("xc7", 1), ("ecp5", 2), ("cyclonev", 4), ("gw2a", 2)])
def test_memories_become_block_ram(family: str, rams: float, tmp_path: Path) -> None:
    found = synthesized(Twice(), family, tmp_path)
    assert found.total.ram == rams
    assert found.total.ff < 512  # no memory bits among them, but registers where a family's RAM reads what is written


@pytest.mark.parametrize(
    ("config", "family", "dsps"),
    [(PLAIN, "xc7", 16), (PACKED, "xc7", 8), (PLAIN, "ecp5", 16), (PLAIN, "cyclonev", pytest.approx(16 / 3))],
    ids=["xc7", "xc7-packed", "ecp5", "cyclonev"],
)
def test_products_become_dsp_blocks(config: Config, family: str, dsps: float, tmp_path: Path) -> None:
    found = synthesized(GemmCore(config), family, tmp_path)
    assert found.total.dsp == dsps
    (lane,) = [use for use in found.modules if "DotProduct" in use.name]
    assert lane.count == (2 if config.gemm.packed else 4) and lane.own.dsp * lane.count == dsps
    assert f"module \\{lane.name}" in found.netlist.read_text()


@pytest.mark.parametrize(
    ("config", "family", "dsps"),
    [(PLAIN, "xc7", 2), (PACKED, "xc7", 1), (PLAIN, "ecp5", 2)],
    ids=["xc7", "xc7-packed", "ecp5"],
)
def test_parts_of_a_vector_lanes_product_are_dsp_blocks(config: Config, family: str, dsps: float, tmp_path) -> None:
    lane = rtlil.convert(VectorLane(instruction_set(config), VECTOR_DATAPATH), name="part", emit_src=False)
    assert synthesize_rtlil(lane, "part", FAMILIES[family], Cache(tmp_path)).total.dsp == dsps


def test_turns_share_dsp_blocks(tmp_path: Path) -> None:
    """The four lanes take turns in one, which has two blocks for the requantizer and two for the residual."""
    config = PLAIN.with_values(epilogue={"interval": 4})
    assert synthesized(Epilogue(instruction_set(config)), "xc7", tmp_path).total.dsp == 4


def test_what_was_synthesized_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthesized(Twice(), "xc7", tmp_path)
    monkeypatch.setattr("tilewright.fpga.synthesis.run_yosys", None)
    assert synthesized(Twice(), "xc7", tmp_path) == first


_LATCH = r"""
module \part
  wire input 1 \enable
  wire input 2 \data
  wire output 3 \q
  cell $dlatch $1
    parameter \WIDTH 1
    parameter \EN_POLARITY 1
    connect \EN \enable
    connect \D \data
    connect \Q \q
  end
end
"""


def test_latches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="Yosys failed: ERROR: Assertion failed"):
        synthesize_rtlil(_LATCH, "part", FAMILIES["xc7"], Cache(tmp_path))
    assert issubclass(SynthesisError, Exception)


def test_a_report_says_where_its_figures_are_from() -> None:
    device = find_device("xc7z020")
    total = Resources(lut=60_000, dsp=1)
    delay = LogicDelay(4.5, (LogicStep("fetch.count", "FDRE", 0.3), LogicStep("store.boxes.sum", "CARRY4", 4.5)))
    report = SynthesisReport(PLAIN, device, "yosys", tool_version(), STAGE, total, delay=delay)
    data = json.loads(json.dumps(report.as_data()))
    assert (data["tool"], data["version"], data["stage"], data["seed"]) == ("yosys", tool_version(), STAGE, None)
    assert data["fits"] is False and data["config_hash"] == PLAIN.hash and data["budget"]["dsp"] == 220
    assert data["logic_delay"]["stage"] == "synth-logic-delay" and data["logic_delay"]["ns"] == 4.5
    assert ("ns of logic, without wires, from fetch to store.boxes", 4.5, None) in report.rows()
