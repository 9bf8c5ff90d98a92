"""The figures in the documentation are those of the committed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tilewright.bench.fpga import CASES
from tilewright.bench.fpga_figures import table_text


def test_the_documentation_has_the_figures_of_the_run(repository: Path, request: pytest.FixtureRequest) -> None:
    records = json.loads((repository / "docs" / "bench" / "fpga.json").read_text())
    assert {record["case"] for record in records} <= set(CASES)
    assert all(record["on"] for record in records)
    page = repository / "docs" / "fpga.md"
    before, begin, rest = page.read_text().partition("<!-- begin of the table -->\n\n")
    shown, end, after = rest.partition("\n<!-- end of the table -->")
    assert begin and end and after
    if request.config.getoption("--update-golden"):
        page.write_text(before + begin + table_text(records) + end + after)
    else:
        assert shown == table_text(records)


def test_a_row_says_what_a_device_lacks() -> None:
    def record(metric: str, value: float, bound: str) -> dict[str, object]:
        return {"case": "16x16 on x", "metric": metric, "value": value, "bound": bound}

    table = table_text([record("lut", 12345.0, "23 % of x"), record("dsp", 352.0, "160 % of x")])
    assert table.splitlines()[-1] == "| 16x16 on x | 12,345 (23 %) |  | 352 (160 %) |  |  | no: DSP |"
    routed = table_text([{**record("fmax", 78.25, "2.1 ns in design.store"), "case": "4x4 routed on x"}])
    assert routed.splitlines()[-1] == "| 4x4 routed on x |  |  |  |  | 78.25 |  |"
