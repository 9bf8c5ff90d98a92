"""The table of GPU figures in the documentation, made from the records of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {
    "gemm": "{kind} GEMM {size}",
    "resnet18": "ResNet-18 {kind}, batch {size}",
    "mobilenet_v2": "MobileNetV2 {kind}, batch {size}",
    "bert_layer": "BERT-base layer {kind}, batch {size}",
}
_HEAD = (
    "| case | Gop | MB at least | floor ms | measured ms | over floor | beside it, ms | bound by |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def table_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the records of `tilewright bench gpu --json` in Markdown, a row a case."""
    speeds = {record["case"]: record for record in records if record["metric"] == "speed"}
    rows = [_row(record, speeds.get(record["case"])) for record in records if record["metric"] == "milliseconds"]
    return _HEAD + "".join(rows)


def _row(record: Mapping[str, Any], speed: Mapping[str, Any] | None) -> str:
    peer = record.get("peer", "").partition(" ")[0].rstrip(",")
    beside = f"{'torch.compile' if peer == 'torch' else peer} {record['peer_value']:.3g}" if peer else ""
    if speed and peer:
        beside += f" ({speed['peer_value']:,.0f} {speed['unit']})"
    took = f"{record['value']:.3g}" + (f" ({speed['value']:,.0f} {speed['unit']})" if speed else "")
    cells = (
        _title(record["case"]), f"{record['operations'] / 1e9:,.1f}", f"{record['least_bytes'] / 1e6:,.1f}",
        f"{record['ideal']:.3g}", took, f"{record['value'] / record['ideal']:.2f}", beside, record["bound"],
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def _title(case: str) -> str:
    kind = next((f"fp{bits}" for bits in (16, 32) if f"_f{bits}" in case), "int8")
    plain = case.replace("_f16", "").replace("_f32", "")
    if plain.startswith("gemm"):
        return _TITLES["gemm"].format(kind=kind, size=plain.removeprefix("gemm"))
    name, _, size = plain.rpartition("_b")
    return _TITLES[name].format(kind=kind, size=size)
