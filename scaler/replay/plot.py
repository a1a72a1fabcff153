# SPDX-License-Identifier: Apache-2.0
"""Pure: curves over time as SVG, without a library: panels in rows, in light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Final

from scaler.replay.curves import Point, thinned, time_ticks, value_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scaler.replay.curves import Tick

MARGIN_LEFT: Final = 46
MARGIN_RIGHT: Final = 26
MARGIN_TOP: Final = 24
MARGIN_BOTTOM: Final = 24
LEGEND_HEIGHT: Final = 22
_VALUE_INTERVALS: Final = 4
_TICK_WIDTH: Final = 70
_COLUMN_WIDTH: Final = 2
_LETTER_WIDTH: Final = 6.2
_LEGEND_GAP: Final = 52


class Color(StrEnum):
    """A color with enough contrast in light and dark; the name is that of a CSS class."""

    GRAY = "gray"
    BLUE = "blue"
    ORANGE = "orange"
    GREEN = "green"
    PURPLE = "purple"
    RED = "red"


_COLORS: Final = {
    Color.GRAY: ("#6b7583", "#98a3b1"),
    Color.BLUE: ("#0b5cad", "#74b5f8"),
    Color.ORANGE: ("#b34700", "#ff9d5c"),
    Color.GREEN: ("#117733", "#5fcf86"),
    Color.PURPLE: ("#7a3db8", "#c79bf2"),
    Color.RED: ("#b3123f", "#ff8aa5"),
}
"""Each in light and in dark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A value that changes in steps; `points` are in order of time, from 0 on.

    A dashed line shows one beneath it; a filled one is an area.
    """

    name: str
    color: Color
    points: Sequence[Point]
    is_dashed: bool = False
    is_filled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A diagram of `seconds`.

    Its axis shows times in UTC where `begun_unix_seconds` is known, else the time since the begin.
    `most` is the value that fits at least, for panels with equal axes. `spans` are stretches to
    shade, as pairs of seconds.
    """

    title: str
    lines: tuple[Line, ...]
    seconds: float
    begun_unix_seconds: float | None = None
    most: float = 0.0
    is_count: bool = False
    spans: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width and height of one panel with its axes, in pixels."""

    width: int = 420
    height: int = 180


def panels_svg(
    rows: Sequence[Sequence[Panel]], *, size: Size, title: str, span_name: str = ""
) -> str:
    """Return a picture with rows of panels, and one legend for the lines of all of them.

    `span_name` is what shaded stretches mean.
    """
    width = size.width * max(len(row) for row in rows)
    entries = _legend_entries(rows, span_name)
    lines, legend_lines = _legend(entries, width)
    top = LEGEND_HEIGHT * legend_lines + 4
    height = top + size.height * len(rows)
    parts = [
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="surface" width="{width}" height="{height}"/>',
        *lines,
    ]
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            x, y = size.width * column, top + size.height * number
            parts += [f'<g transform="translate({x} {y})">', *_panel(panel, size), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def page_html(title: str, style: str, body: str) -> str:
    """Return a page that loads nothing; `body` is HTML below the title."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _style() -> str:
    def colors(theme: int) -> str:
        return "".join(
            f".plot .{name}{{stroke:{values[theme]}}}.plot .{name}.area{{fill:{values[theme]}}}"
            for name, values in _COLORS.items()
        )

    return (
        ".plot text{font:11px system-ui,sans-serif;fill:#1b2027}"
        ".plot .name{font-weight:600}.plot .tick{fill:#566070}"
        ".plot .surface{fill:#fff}.plot .grid{stroke:#e1e5ea}.plot .span{fill:#f6c9b4}"
        ".plot .line{fill:none;stroke-width:1.5;stroke-linejoin:round}.plot .dashed"
        "{stroke-dasharray:5 3}.plot .area{fill-opacity:.22;stroke-width:1}"
        + colors(0)
        + "@media(prefers-color-scheme:dark){.plot text{fill:#e5e9ee}.plot .tick{fill:#a3aebb}"
        ".plot .surface{fill:#191e25}.plot .grid{stroke:#313a46}.plot .span{fill:#5c3a2b}"
        + colors(1)
        + "}"
    )


_STYLE: Final = _style()


def _legend_entries(
    rows: Iterable[Iterable[Panel]], span_name: str
) -> list[tuple[str, Line | None]]:
    """Return each name once, with the first line of that name; None stands for spans."""
    panels = [panel for row in rows for panel in row]
    entries: dict[str, Line | None] = {}
    for panel in panels:
        for line in panel.lines:
            entries.setdefault(line.name, line)
    if any(panel.spans for panel in panels):
        entries[span_name] = None
    return list(entries.items())


def _legend(entries: Iterable[tuple[str, Line | None]], width: float) -> tuple[list[str], int]:
    """Return the legend and how many lines it takes."""
    parts: list[str] = []
    x, number = float(MARGIN_LEFT), 0
    for name, line in entries:
        needed = _LEGEND_GAP + _LETTER_WIDTH * len(name)
        if x + needed > width and x > MARGIN_LEFT:
            x, number = float(MARGIN_LEFT), number + 1
        y = LEGEND_HEIGHT * number + 14
        if line is None:
            mark = f'<rect class="span" x="{x:.0f}" y="{y - 6}" width="24" height="12"/>'
        elif line.is_filled:
            classes = f"area {line.color}"
            mark = f'<rect class="{classes}" x="{x:.0f}" y="{y - 6}" width="24" height="12"/>'
        else:
            mark = f'<path class="{_classes(line)}" d="M{x:.0f} {y}h24"/>'
        parts += [mark, f'<text x="{x + 30:.0f}" y="{y + 4}">{escape(name)}</text>']
        x += needed
    return parts, number + 1


def _classes(line: Line) -> str:
    return f"line {line.color}" + " dashed" * line.is_dashed


def _panel(panel: Panel, size: Size) -> Iterator[str]:
    left, right = MARGIN_LEFT, size.width - MARGIN_RIGHT
    top, bottom = MARGIN_TOP, size.height - MARGIN_BOTTOM
    drawn = [
        (line, thinned(line.points, extent=panel.seconds, columns=(right - left) // _COLUMN_WIDTH))
        for line in panel.lines
    ]
    values = [point.value for _, points in drawn for point in points if point.value is not None]
    ticks = value_ticks(
        max(panel.most, *values, 0.0), intervals=_VALUE_INTERVALS, is_count=panel.is_count
    )
    scale = _Scale(
        left=left,
        bottom=bottom,
        across=(right - left) / panel.seconds,
        up=(bottom - top) / ticks[-1].at,
        end=panel.seconds,
    )
    yield f'<text class="name" x="{left}" y="{top - 9}">{escape(panel.title)}</text>'
    for begin, end in panel.spans:
        x = scale.x(begin)
        yield (
            f'<rect class="span" x="{x:.1f}" y="{top}" width="{scale.x(end) - x:.1f}"'
            f' height="{bottom - top}"/>'
        )
    for tick in ticks:
        y = scale.y(tick.at)
        yield f'<path class="grid" d="M{left} {y:.1f}H{right}"/>'
        yield (
            f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick.text}</text>"
        )
    times = time_ticks(
        panel.seconds,
        intervals=(right - left) // _TICK_WIDTH,
        begun_unix_seconds=panel.begun_unix_seconds,
    )
    yield from _time_axis(times, scale)
    for line, points in drawn:
        if line.is_filled:
            yield f'<path class="area {line.color}" d="{scale.path(points, is_area=True)}"/>'
        else:
            yield f'<path class="{_classes(line)}" d="{scale.path(points, is_area=False)}"/>'


def _time_axis(ticks: Iterable[Tick], scale: _Scale) -> Iterator[str]:
    for tick in ticks:
        x = scale.x(tick.at)
        yield f'<path class="grid" d="M{x:.1f} {scale.bottom}v4"/>'
        yield (
            f'<text class="tick" x="{x:.1f}" y="{scale.bottom + 16}" text-anchor="middle">'
            f"{tick.text}</text>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """From seconds and values to pixels of a panel; `end` is the last second."""

    left: float
    bottom: float
    across: float
    up: float
    end: float

    def x(self, seconds: float) -> float:
        return self.left + seconds * self.across

    def y(self, value: float) -> float:
        return self.bottom - value * self.up

    def path(self, points: Sequence[Point], *, is_area: bool) -> str:
        """Return a path that keeps each value until the next point, with gaps where unknown."""
        parts: list[str] = []
        begin: str | None = None
        ends = [*(point.at for point in points[1:]), self.end]
        for point, end in zip(points, ends, strict=False):
            if point.value is None:
                if begin is not None and is_area:
                    parts.append(f"V{self.bottom}H{begin}Z")
                begin = None
                continue
            y = f"{self.y(point.value):.1f}"
            if begin is None:
                begin = f"{self.x(point.at):.1f}"
                parts.append(f"M{begin} {self.bottom}V{y}" if is_area else f"M{begin} {y}")
            else:
                parts.append(f"V{y}")
            parts.append(f"H{self.x(end):.1f}")
        if begin is not None and is_area:
            parts.append(f"V{self.bottom}H{begin}Z")
        return "".join(parts)
