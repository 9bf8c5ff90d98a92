"""The table of configurations and devices in the documentation, made from the records of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Metrics of `tilewright bench fpga`, with their titles.
_COLUMNS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "ram": "block RAM", "fmax": "MHz"}
_HEAD = f"| array and device | {' | '.join(_COLUMNS.values())} | fits |\n|{'---|' * (len(_COLUMNS) + 2)}\n"


def table_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the records of `tilewright bench fpga --json` in Markdown, a row a case.

    What a device has too little of is the answer to whether the case fits.
    """
    cases: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        cases.setdefault(record["case"], {})[record["metric"]] = record
    return _HEAD + "".join(_row(case, found) for case, found in cases.items())


def _row(case: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [_cell(found[metric]) if metric in found else "" for metric in _COLUMNS]
    lacking = [_COLUMNS[metric] for metric, record in found.items() if _share(record) > 100]
    fits = "" if "fmax" in found else f"no: {', '.join(lacking)}" if lacking else "yes"
    return "| " + " | ".join((case, *cells, fits)) + " |\n"


def _cell(record: Mapping[str, Any]) -> str:
    share = f" ({_share(record)} %)" if _share(record) else ""
    return f"{record['value']:,g}{share}" if record["value"] < 1e6 else f"{record['value']:,.0f}{share}"


def _share(record: Mapping[str, Any]) -> int:
    """Return how much of the device is taken, in percent; 0 where nothing is."""
    share, percent, _ = record.get("bound", "").partition(" % of ")
    return int(share) if percent else 0
