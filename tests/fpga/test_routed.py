"""Reports of nextpnr, and the modules of cells in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.fpga.routed import module_of, read_report


@pytest.mark.parametrize(
    ("cell", "module"),
    [
        ("design.compute.gemm_core.dot0_1.$auto$ff.cc:266:slice$12", "design.compute.gemm_core.dot0_1"),
        ("design.load.runs.count_TRELLIS_FF_Q_1", "design.load.runs"),
        ("design.compute.epilogue.residual3.shifter.y$7_TRELLIS_FF_Q_7", "design.compute.epilogue.residual3.shifter"),
        ("design.vector_alu.lane1.low_TRELLIS_FF_Q_20_DI_CCU2C_S0$CCU2_COMB1", "design.vector_alu.lane1"),
        ("$PACKER_VCC", ""),
    ],
)
def test_modules_of_cells(cell: str, module: str) -> None:
    assert module_of(cell) == module


def test_reports_are_read(tmp_path: Path) -> None:
    def step(kind: str, cell: str, delay: float) -> dict[str, object]:
        return {"type": kind, "delay": delay, "from": {"cell": "x"}, "to": {"cell": cell}}

    report = {
        "fmax": {"$glbnet$clk": {"achieved": 98.5, "constraint": 100.0}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge $glbnet$clk", "path": [step("routing", "pin", 50.0)]},
            {
                "from": "posedge $glbnet$clk",
                "to": "posedge $glbnet$clk",
                "path": [step("clk-to-q", "a.b.$1", 0.5), step("logic", "a.c.$2", 2.0), step("setup", "a.b.$3", 0.25)],
            },
        ],
        "utilization": {"TRELLIS_COMB": {"used": 10, "available": 20}, "DCUA": {"used": 0, "available": 2}},
    }
    routed = read_report(report, tool="nextpnr-ecp5", version="0.10", seed=7, note="", bitstream=tmp_path)
    assert (routed.fmax_mhz, routed.tool, routed.version, routed.seed) == (98.5, "nextpnr-ecp5", "0.10", 7)
    assert (routed.stage, routed.note) == ("routed", "")
    assert routed.delay_by_module == {"a.b": 0.75, "a.c": 2.0}
    assert routed.as_data()["used"] == {"TRELLIS_COMB": {"used": 10, "available": 20}}
