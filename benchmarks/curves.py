"""Step curves as SVG, small and without a library: panels in rows, each with lines over time."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PANEL_WIDTH: Final = 420
PANEL_HEIGHT: Final = 170
MARGIN_LEFT: Final = 34
MARGIN_TOP: Final = 26
MARGIN: Final = 14
LEGEND_HEIGHT: Final = 30
TICKS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value per second (or whatever the panel is over), drawn in `color`."""

    name: str
    color: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A small diagram; all of its lines are of the same length."""

    title: str
    lines: tuple[Line, ...]


def svg(panels: Sequence[Sequence[Panel]]) -> str:
    """Return the document: one row of panels for each sequence, the first panel's legend above."""
    width = PANEL_WIDTH * max(len(row) for row in panels)
    height = LEGEND_HEIGHT + PANEL_HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend(panels[0][0].lines),
    ]
    for row, columns in enumerate(panels):
        for column, panel in enumerate(columns):
            x, y = PANEL_WIDTH * column, LEGEND_HEIGHT + PANEL_HEIGHT * row
            parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(lines: Sequence[Line]) -> list[str]:
    parts = []
    for number, line in enumerate(lines):
        x = MARGIN_LEFT + 190 * number
        parts.append(
            f'<line x1="{x}" x2="{x + 24}" y1="15" y2="15" stroke="{line.color}" stroke-width="2"/>'
            f'<text x="{x + 30}" y="19">{escape(line.name)}</text>'
        )
    return parts


def _panel(panel: Panel) -> list[str]:
    seconds = len(panel.lines[0].values)
    most = max(1.0, *(max(line.values) for line in panel.lines))
    across = (PANEL_WIDTH - MARGIN_LEFT - MARGIN) / seconds
    up = (PANEL_HEIGHT - MARGIN_TOP - MARGIN) / most
    bottom = PANEL_HEIGHT - MARGIN
    parts = [f'<text x="{MARGIN_LEFT}" y="{MARGIN_TOP - 8}">{escape(panel.title)}</text>']
    for tick in range(TICKS + 1):
        value = most * tick / TICKS
        y = bottom - value * up
        parts.append(
            f'<line x1="{MARGIN_LEFT}" x2="{PANEL_WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}"'
            ' stroke="#ddd"/>'
            f'<text x="{MARGIN_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}</text>'
        )
    for line in panel.lines:
        points = " ".join(
            f"{MARGIN_LEFT + second * across:.1f},{bottom - value * up:.1f}"
            for second, value in _corners(line.values)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.5"/>'
        )
    return parts


def _corners(values: Sequence[float]) -> list[tuple[int, float]]:
    """The points at which a line changes, each with what it was until then."""
    corners = [(0, values[0])]
    for second in range(1, len(values)):
        if values[second] != values[second - 1]:
            corners += [(second, values[second - 1]), (second, values[second])]
    return [*corners, (len(values), values[-1])]
