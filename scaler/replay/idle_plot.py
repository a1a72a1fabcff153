# SPDX-License-Identifier: Apache-2.0
"""Pure: held, idle and free GPUs over time, as SVG and as a page that loads nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from scaler.replay.plot import Color, Line, Panel, Size, panels_svg
from scaler.replay.thinning import stepped

if TYPE_CHECKING:
    from scaler.replay.idle_model import IdleReport

TITLE: Final = "Idle GPUs"
_SIZE: Final = Size(width=900, height=260)
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:14px/1.45 system-ui,sans-serif;margin:24px}"
    "pre{overflow-x:auto}svg{max-width:100%;height:auto}"
)


def idle_svg(report: IdleReport) -> str:
    """Return the picture; a step without any reading is a gap."""
    timeline = report.timeline
    known = [held + free > 0 for held, free in zip(timeline.held, timeline.free, strict=True)]
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
            ("held", Color.GRAY, timeline.held, True),
            ("held and idle", Color.ORANGE, timeline.idle, False),
            ("free", Color.GREEN, timeline.free, False),
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
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{TITLE}</title><style>{_STYLE}</style></head>\n<body><h1>{TITLE}</h1>\n"
        f"{idle_svg(report)}\n<pre>{escape(text)}</pre></body></html>\n"
    )
