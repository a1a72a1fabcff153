# SPDX-License-Identifier: Apache-2.0
"""Pure: the report of `gpu-scaler idle` as JSON, as CSV, as SVG and as a page."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec

from scaler.replay.curves import stepped
from scaler.replay.plot import Color, Line, Panel, Size, page_html, panels_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.replay.idle_model import IdleReport, IdleRow

TITLE: Final = "Idle GPUs"
_SIZE: Final = Size(width=900, height=260)
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:14px/1.45 system-ui,sans-serif;margin:24px}"
    "pre{overflow-x:auto}svg{max-width:100%;height:auto}"
)
_HELD: Final = (
    *("namespace", "kind", "workload", "pod", "average_gpus", "held_hours", "idle_hours"),
    *("under_threshold_hours", "unknown_hours", "longest_idle_seconds", "never_used"),
    *("last_seen_unix_seconds", "idle_cost"),
)
_FREE: Final = ("node", "gpu", "model", "free_hours", "free_since_unix_seconds", "free_cost")


def idle_json(report: IdleReport, notes: Sequence[str] = ()) -> str:
    """Return the report as JSON; everything is sorted by waste."""
    steps = len(report.held)
    document = {
        "begun_unix_seconds": report.begun_unix_seconds,
        "first_reading_unix_seconds": report.first_unix_seconds,
        "last_reading_unix_seconds": report.last_unix_seconds,
        "ended_unix_seconds": report.begun_unix_seconds + steps * report.step_seconds,
        "step_seconds": report.step_seconds,
        "threshold_percent": report.threshold_percent,
        "gpus": report.gpus,
        "known_hours": report.known_hours,
        "unknown_hours": report.unknown_hours,
        "notes": notes,
        "models_without_price": report.unpriced,
        "namespaces": [_held(row) for row in report.namespaces],
        "workloads": [_held(row) for row in report.workloads],
        "pods": [_held(row) for row in report.pods],
        "free_gpus": report.free,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def idle_csv(report: IdleReport) -> str:
    """Return a row per pod, then one per free GPU; an unknown value is an empty cell."""
    table = io.StringIO()
    writer = csv.DictWriter(table, (*_HELD, *_FREE), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in report.pods:
        writer.writerow(_held(row) | {"model": ";".join(row.models)})
    for gpu in report.free:
        writer.writerow({name: getattr(gpu, name) for name in _FREE})
    return table.getvalue()


def _held(row: IdleRow) -> dict[str, Any]:
    """A pod, a workload or a namespace; `kind` is like `deployments.apps`, None if unknown."""
    owner = row.workload
    return asdict(row) | {
        "kind": None if owner is None else owner.resource,
        "workload": None if owner is None else owner.name,
    }


def idle_svg(report: IdleReport) -> str:
    """Return the picture; a step without any reading is a gap."""
    known = [held + free > 0 for held, free in zip(report.held, report.gpus_free, strict=True)]
    lines = tuple(
        Line(
            name=name,
            color=color,
            points=stepped(
                (
                    value if is_known else None
                    for value, is_known in zip(values, known, strict=True)
                ),
                report.step_seconds,
            ),
            is_filled=is_filled,
        )
        for name, color, values, is_filled in (
            ("held", Color.GRAY, report.held, True),
            ("held and idle", Color.ORANGE, report.idle, False),
            ("free", Color.GREEN, report.gpus_free, False),
        )
    )
    panel = Panel(
        title="GPUs",
        lines=lines,
        seconds=len(known) * report.step_seconds,
        begun_unix_seconds=report.begun_unix_seconds,
        is_count=True,
    )
    return panels_svg([[panel]], size=_SIZE, title=TITLE)


def idle_html(report: IdleReport, text: str) -> str:
    """Return a page with the picture and the tables of `idle_text`."""
    return page_html(TITLE, _STYLE, f"{idle_svg(report)}\n<pre>{escape(text)}</pre>")
