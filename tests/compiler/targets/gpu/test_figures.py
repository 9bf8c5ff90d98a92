"""The figures in the documentation are those of the committed run."""

from __future__ import annotations

import json
from pathlib import Path

from tilewright.bench.gpu import CASES
from tilewright.bench.gpu_figures import table_text

_DOCS = Path(__file__).parents[4] / "docs"
_RECORDS = json.loads((_DOCS / "bench" / "gpu_h200.json").read_text())["records"]


def test_documentation_has_the_figures_of_the_run() -> None:
    assert table_text(_RECORDS) in (_DOCS / "gpu.md").read_text()


def test_run_has_every_case_and_no_wrong_value() -> None:
    assert {record["case"] for record in _RECORDS} == set(CASES)
    assert all(record["wrong"] == 0 < record["checked"] for record in _RECORDS)


def test_figures_reach_what_they_are_held_against() -> None:
    times = {record["case"]: record for record in _RECORDS if record["metric"] == "milliseconds"}
    limits = {"resnet18_b1": 0.15, "resnet18_b64": 0.6, "mobilenet_v2_b1": 0.25, "mobilenet_v2_b64": 1.0}
    assert all(times[case]["value"] <= most for case, most in limits.items())
    share = {"gemm4096": 0.9, "gemm8192": 0.9, "gemm4096_f16": 0.85, "gemm8192_f16": 0.85}
    share |= {"gemm4096_f32": 0.75, "bert_layer_f32_b32": 0.9}
    floats = dict.fromkeys((c for c in CASES if ("_f16_b" in c or "_f32_b" in c) and c not in share), 1.0)
    assert all(times[case]["peer_value"] >= times[case]["value"] * least for case, least in (share | floats).items())
