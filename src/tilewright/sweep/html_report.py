"""The report of a study: one HTML file that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tilewright.sweep.confirm import Confirmation, confirmation, describe_area
from tilewright.sweep.front import front
from tilewright.sweep.metrics import METRICS
from tilewright.sweep.study import Point, Study

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 }
td, th { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #ddd } td:first-child { text-align: left }
th { text-align: right } details { margin: .3rem 0 }
.wide { overflow-x: auto } summary { cursor: pointer } pre { background: #f6f6f6; padding: .7rem }
:target > summary { background: #fff3c4 }
"""

#: A click on a point of the front, in a plot or in the table, opens its configuration and its layers.
_SCRIPT = """
function show() {
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target) { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", show);
show();
for (const plot of document.querySelectorAll(".plotly-graph-div")) {
  plot.on("plotly_click", event => {
    const number = event.points[0].customdata;
    if (number !== undefined) { location.hash = "point-" + number; show(); }
  });
}
"""


def report(study: Study) -> str:
    """Return the report as the text of an HTML file."""
    points = study.points()
    best = front(points, study.space.objectives)
    confirmed = {point.number: confirmation(study, point.number) for point in best}
    title = html.escape(f"Sweep {study.space.name}")
    parts = [
        f"<h1>{title}</h1>",
        _summary(study, points),
        "<h2>Pareto front</h2>",
        *(_pareto(points, best, *pair) for pair in combinations(study.space.objectives, 2)),
        _front_table(study, best, confirmed),
        "<h2>What matters</h2>",
        _importance(study, points),
        _coordinates(study, points),
        "<h2>Points of the front</h2>",
        *(_details(study, point, confirmed[point.number]) for point in best),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body>{''.join(parts)}<script>{_SCRIPT}</script></body></html>"
    )


def _summary(study: Study, points: Sequence[Point]) -> str:
    space = study.space
    states = {state: sum(point.state == state for point in points) for state in ("done", "failed", "skipped")}
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return (
        f"<p>Models: {html.escape(', '.join(space.models))}. Objectives: {', '.join(space.objectives)}. "
        f"Space of {space.size:,} points, searched by {space.search.sampler} with seed {space.search.seed}: "
        f"{counts}. Memory: {space.memory.bytes_per_cycle} bytes a cycle, latency {space.memory.latency_cycles}.</p>"
        f"<p>{html.escape(describe_area(study, points))}</p>"
    )


def _pareto(points: Sequence[Point], best: Sequence[Point], x: str, y: str) -> str:
    numbers = {point.number for point in best}
    figure = go.Figure(layout={"template": "plotly_white", "height": 480})
    others = [point for point in points if point.state == "done" and point.number not in numbers]
    for name, some, color in (("points", others, "#b8c4d6"), ("front", best, "#c8102e")):
        figure.add_scatter(
            x=[point.metrics[x] for point in some], y=[point.metrics[y] for point in some], name=name, mode="markers",
            marker={"color": color, "size": 9 if name == "front" else 6}, customdata=[point.number for point in some],
            text=[_label(point) for point in some], hovertemplate="%{text}<br>%{x:,} %{y:,}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=f"{x} [{METRICS[x].unit}]", type="log")
    figure.update_yaxes(title=f"{y} [{METRICS[y].unit}]", type="log")
    return _embed(figure)


def _label(point: Point) -> str:
    return f"#{point.number}: " + ", ".join(f"{path.split('.')[1]}={value}" for path, value in point.chosen.items())


def _front_table(study: Study, best: Sequence[Point], confirmed: Mapping[int, Confirmation]) -> str:
    names = ("point", *study.space.parameters, *METRICS, "confirmed by")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        f'<tr><td><a href="#point-{point.number}">#{point.number}</a></td>'
        + "".join(f"<td>{point.chosen[path]}</td>" for path in study.space.parameters)
        + "".join(f"<td>{_number(point.metrics[name])}</td>" for name in METRICS)
        + f"<td>{confirmed[point.number].level}</td></tr>"
        for point in best
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value < 1e9 else f"{value:.3g}"


def _importance(study: Study, points: Sequence[Point]) -> str:
    """Show how much of each objective's variance follows from each parameter alone (main effects)."""
    done = [point for point in points if point.state == "done"]
    figure = go.Figure(layout={"template": "plotly_white", "height": 360, "barmode": "group"})
    for objective in study.space.objectives:
        shares = main_effects(done, tuple(study.space.parameters), objective)
        figure.add_bar(x=list(shares), y=list(shares.values()), name=objective)
    figure.update_yaxes(title="share of variance explained", tickformat=".0%")
    return _embed(figure)


def main_effects(points: Sequence[Point], paths: Sequence[str], objective: str) -> dict[str, float]:
    """Return, for each parameter, the share of the variance of log(objective) between the means of its values."""
    values = [math.log(max(point.metrics[objective], 1e-9)) for point in points]
    mean = sum(values) / max(len(values), 1)
    total = sum((value - mean) ** 2 for value in values)
    shares = {}
    for path in paths:
        groups: dict[Any, list[float]] = {}
        for point, value in zip(points, values, strict=True):
            groups.setdefault(point.chosen[path], []).append(value)
        between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in groups.values())
        shares[path] = between / total if total else 0.0
    return shares


def _coordinates(study: Study, points: Sequence[Point]) -> str:
    done = [point for point in points if point.state == "done"]
    if not done:
        return ""
    objective = study.space.objectives[0]
    color = [math.log10(max(point.metrics[objective], 1)) for point in done]
    dimensions = [
        {
            "label": path, "values": [values.index(point.chosen[path]) for point in done],
            "tickvals": list(range(len(values))), "ticktext": [str(value) for value in values],
        }
        for path, values in study.space.parameters.items()
    ] + [
        {"label": f"log10 {name}", "values": [math.log10(max(point.metrics[name], 1)) for point in done]}
        for name in study.space.objectives
    ]  # fmt: skip
    figure = go.Figure(
        go.Parcoords(dimensions=dimensions, line={"color": color, "colorscale": "Viridis"}),
        layout={"height": 460, "title": f"colour: log10 {objective}"},
    )
    return _embed(figure)


def _details(study: Study, point: Point, confirmed: Confirmation) -> str:
    config = study.space.config(point.chosen)
    result = study.result(point.number)
    tables = "".join(_layer_table(name, model) for name, model in result["models"].items())
    return (
        f'<details id="point-{point.number}"><summary>{html.escape(_label(point))}, confirmed by '
        f"{confirmed.level}</summary>{_confirmed(confirmed)}<pre>{html.escape(config.to_toml())}</pre>{tables}</details>"
    )


def _confirmed(confirmed: Confirmation) -> str:
    lines = [
        f"{name}: RTL {one['cycles']:,} cycles, cycle model {one['expected']:,}, {one['wrong']} wrong output values"
        for name, one in confirmed.rtl.items()
    ]
    if confirmed.synth:
        synth = confirmed.synth
        delay = synth.get("delay_ns")
        lines.append(
            f"{synth['tool']} for {synth['family']} ({synth['stage']}): {synth['luts']:,.0f} LUT, "
            f"{synth['ffs']:,.0f} FF, {synth['dsps']:g} DSP, {synth['rams']:g} RAM"
            + ("" if delay is None else f", {delay:.2f} ns of logic without wires")
        )
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _layer_table(name: str, model: Mapping[str, Any]) -> str:
    columns = ("name", "op", "macs", "cycles", "dram_bytes", "energy")
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(layer[column])}</td>" for column in columns) + "</tr>"
        for layer in model["layers"]
    )
    return f"<h3>{html.escape(name)}: {model['cycles']:,} cycles</h3><table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    return _number(value) if isinstance(value, int | float) else html.escape(str(value))


def _embed(figure: go.Figure) -> str:
    text: str = figure.to_html(full_html=False, include_plotlyjs=False)
    return text
