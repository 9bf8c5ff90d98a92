"""A study as a table: CSV or Parquet, a row a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilewright.isa.errors import InputError
from tilewright.sweep.confirm import SYNTHESIZED, Confirmation, confirmation
from tilewright.sweep.metrics import METRICS
from tilewright.sweep.study import Point, Study

FORMATS = (".csv", ".parquet")


def rows(study: Study, points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return a row for each point: number, state, level, reason, the parameters and the metrics."""
    return [_row(study, point, confirmation(study, point.number)) for point in points]


def _row(study: Study, point: Point, confirmed: Confirmation) -> dict[str, Any]:
    return {
        "number": point.number,
        "state": point.state,
        "level": confirmed.level if point.state == "done" else "",
        "reason": point.reason,
        **{path: point.chosen.get(path) for path in study.space.parameters},
        **{name: point.metrics.get(name) for name in METRICS},
        "rtl_difference": confirmed.difference if confirmed.rtl else None,
        "rtl_wrong": confirmed.wrong if confirmed.rtl else None,
        **{f"synth_{name}": confirmed.synth.get(name) for name in SYNTHESIZED},
    }


def export(study: Study, path: str | Path) -> None:
    """Write all points to a file whose name ends in one of `FORMATS`.

    Raises
    ------
    InputError
        For another ending, or when it cannot be written.
    """
    import pandas

    target = Path(path)
    if target.suffix not in FORMATS:
        raise InputError(f"a table is written as {' or '.join(FORMATS)}, not `{target.suffix or target.name}`")
    table = pandas.DataFrame(rows(study, study.points()))
    try:
        if target.suffix == ".csv":
            table.to_csv(target, index=False)
        else:
            table.to_parquet(target, index=False)
    except OSError as error:
        raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None
