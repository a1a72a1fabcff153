# SPDX-License-Identifier: Apache-2.0
"""Pure: `gpu-scaler simulate --plot`: demand and replica counts over time, as SVG and HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from scaler.model import TOTAL_METRICS, Metric
from scaler.quantities import format_value
from scaler.replay.curves import Point, merged_spans, stepped
from scaler.replay.model import AS_IT_WAS, OURS
from scaler.replay.plot import (
    MARGIN_LEFT,
    MARGIN_RIGHT,
    Color,
    Line,
    Panel,
    Size,
    page_html,
    panels_svg,
)
from scaler.replay.prices import NO_PRICES
from scaler.replay.recommendation import annotations_yaml
from scaler.replay.report import caveats, period_text, result_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scaler.replay.documents import Simulation
    from scaler.replay.model import RecordedMetric, Recording, ReplayResult
    from scaler.replay.prices import Prices

_SIZE: Final = Size(width=920, height=168)
_FLOOR: Final = "lower bound: a pod was saturated"
_DEMAND: Final = "demand"
_BINARY_UNITS: Final = ((1024.0**4, "TiB"), (1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"))


def simulations_svg(
    simulations: Iterable[Simulation], *, title: str = "gpu-scaler simulate"
) -> str:
    """Return one picture of all workloads, one below the other; there is at least one.

    Each has the demand by each metric, and the replicas for each target.
    """
    rows = [[panel] for one in simulations for panel in _panels(one)]
    return panels_svg(rows, size=_SIZE, title=title, span_name=_FLOOR)


def _panels(simulation: Simulation) -> list[Panel]:
    recording, results = simulation.recording, simulation.results
    was = next((one for one in results if one.policy == AS_IT_WAS), None)
    others = [one for one in results if one is not was]
    most = max((one.highest_replicas for one in results), default=0)
    recommendation = simulation.recommendation
    recommended_milli = None if recommendation is None else recommendation.target_milli
    panels = [_demand_panel(recording, one) for one in recording.metrics]
    targets = list(dict.fromkeys(one.target_milli for one in others)) or [None]
    for target_milli in targets:
        compared = [one for one in others if one.target_milli == target_milli]
        title = f"{recording.ref}: replicas"
        if target_milli is not None:
            whose = f"{recording.metric} " * (len(recording.metrics) > 1)
            title += f" at {whose}target {format_value(recording.metric, target_milli)}"
            title += " (recommended)" * (target_milli == recommended_milli)
        lines = [*([] if was is None else [was]), *compared]
        panels.append(
            Panel(
                title=title,
                lines=tuple(map(_replica_line, lines)),
                seconds=recording.seconds,
                begun_unix_seconds=recording.begun_unix_seconds,
                most=most,
                is_count=True,
            )
        )
    return panels


def _replica_line(result: ReplayResult) -> Line:
    points = [Point(step.at_seconds, step.replicas) for step in result.steps]
    if result.policy == AS_IT_WAS:
        return Line(name=result.policy, color=Color.GRAY, points=points, is_filled=True)
    if result.policy == OURS:
        return Line(name=result.policy, color=Color.BLUE, points=points)
    return Line(name=result.policy, color=Color.ORANGE, points=points, is_dashed=True)


def _demand_panel(recording: Recording, recorded: RecordedMetric) -> Panel:
    metric = recorded.metric
    known = [one for one in recorded.demand_milli if one is not None]
    divisor, unit = _unit(metric, max(known, default=0))
    over = "" if metric in TOTAL_METRICS else ", sum over the pods"
    demand = (None if one is None else one / divisor for one in recorded.demand_milli)
    points = stepped(demand, recording.step_seconds)
    columns = (_SIZE.width - MARGIN_LEFT - MARGIN_RIGHT) // 2
    spans = merged_spans(recorded.floor, step=recording.step_seconds, columns=columns)
    return Panel(
        title=f"{recording.ref}: {metric.value}{over}{unit and f' ({unit})'}",
        lines=(Line(name=_DEMAND, color=Color.GREEN, points=points),),
        seconds=recording.seconds,
        begun_unix_seconds=recording.begun_unix_seconds,
        spans=tuple(spans),
    )


def _unit(metric: Metric, most_milli: int) -> tuple[float, str]:
    """Return by what to divide milli units, and the unit of the result."""
    match metric:
        case Metric.MEMORY_USED_BYTES:
            for factor, unit in _BINARY_UNITS:
                if most_milli >= 1000 * factor:
                    return 1000 * factor, unit
            return 1000.0, "bytes"
        case Metric.POWER_USAGE_MILLIWATTS:
            return 1e6, "W"
        case Metric.TEMPERATURE_CELSIUS:
            return 1000.0, "°C"
        case Metric.DUTY_CYCLE | Metric.MEMORY_USED_PERCENT | Metric.KV_CACHE_PERCENT:
            return 1000.0, "%"
        case _:
            return 1000.0, ""


def simulations_html(simulations: Sequence[Simulation], prices: Prices = NO_PRICES) -> str:
    """Return one page with the pictures and figures of all workloads, that loads nothing."""
    sections = "\n".join(
        _section(one, number, prices) for number, one in enumerate(simulations, start=1)
    )
    names = "".join(
        f'<li><a href="#workload-{number}">{escape(str(one.recording.ref))}</a></li>'
        for number, one in enumerate(simulations, start=1)
    )
    contents = f"<nav><ul>{names}</ul></nav>\n" if len(simulations) > 1 else ""
    return page_html("gpu-scaler simulate", _PAGE_STYLE, contents + sections)


def _section(simulation: Simulation, number: int, prices: Prices) -> str:
    recording = simulation.recording
    period = period_text(recording)
    title = f"{recording.ref.title}, {period}"
    header, *rows = result_rows(simulation, prices, is_wide=True)
    sentences = "".join(f"<li>{escape(one)}</li>" for one in caveats(simulation, prices))
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    parts = [
        f'<section id="workload-{number}">',
        f"<h2>{escape(recording.ref.title)}</h2>",
        f"<p>{escape(period)}</p>",
        f"<ul>{sentences}</ul>",
        f'<div class="wide">{simulations_svg([simulation], title=title)}</div>',
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
        "</div>",
    ]
    recommendation = simulation.recommendation
    if recommendation is not None:
        parts.append(f"<p>{escape(recommendation.text)} {escape(recommendation.doubt or '')}</p>")
        if text := annotations_yaml(recommendation):
            parts.append(f"<pre>{escape(text)}</pre>")
    return "\n".join([*parts, "</section>"])


_PAGE_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{margin:0 auto;max-width:1000px;padding:8px 20px 32px;background:#fff;color:#1b2027;"
    "font:14px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums}"
    "h1{font-size:20px}h2{font-size:16px;margin-top:32px}a{color:#0b5cad}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;margin:8px 0}"
    "th,td{text-align:left;padding:3px 14px 3px 0;white-space:nowrap;"
    "border-bottom:1px solid #d9dde3}pre{padding:10px 12px;overflow-x:auto;background:#f1f3f6}"
    "@media(prefers-color-scheme:dark){body{background:#191e25;color:#e5e9ee}a{color:#74b5f8}"
    "th,td{border-color:#313a46}pre{background:#232a33}}"
)
