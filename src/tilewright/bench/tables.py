"""Records laid out for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.bench.record import Record

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(records: list[Record]) -> Table:
    """Give a row to each record."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("case", "config", "metric")
    for head in ("value", "ideal", "peer's"):
        table.add_column(head, justify="right")
    table.add_column("peer")
    table.add_column("bound by, or why there is no value")
    for r in records:
        table.add_row(
            r.case, r.config, r.metric, f"{number(r.value)} {r.unit}" if r.value is not None else "-",
            number(r.ideal), number(r.peer_value), r.peer or "", escape(r.reason or r.bound or ""),
        )  # fmt: skip
    return table


def number(value: float | None) -> str:
    """Show a figure with three or more digits."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
