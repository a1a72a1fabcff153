# SPDX-License-Identifier: Apache-2.0
"""Curves: thinned without losing a peak, round ticks, well-formed SVG and HTML."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, ObjectRef
from scaler.replay.curves import Point, merged_spans, stepped, thinned, time_ticks, value_ticks
from scaler.replay.documents import Simulation
from scaler.replay.model import (
    AS_IT_WAS,
    HPA,
    OURS,
    RecordedMetric,
    Recording,
    ReplayResult,
    ReplicaStep,
)
from scaler.replay.plot import Color, Line, Panel, Size, panels_svg
from scaler.replay.prices import parse_prices
from scaler.replay.recommendation import RecommendedTarget
from scaler.replay.simulation_plot import simulations_html, simulations_svg
from tests.unit.replay.recordings import recorded_metric, with_first

NOON = 1_764_158_400.0
HOUR, DAY = 3600.0, 86_400.0


def test_points_are_where_values_change():
    assert stepped([1.0, 1.0, None, None, 4.0], 15.0) == [(0.0, 1.0), (30.0, None), (60.0, 4.0)]


@given(
    st.lists(st.none() | st.floats(0, 1e9), min_size=1, max_size=400),
    st.integers(1, 40),
    st.floats(1, 100),
)
def test_thinned_points_keep_the_peaks_and_are_few(values, columns, step):
    points = [Point(n * step, value) for n, value in enumerate(values)]
    found = thinned(points, extent=len(values) * step, columns=columns)
    assert len(found) <= 4 * columns
    assert found == sorted(set(found) & set(points), key=lambda point: point.at)
    assert (found[0], found[-1]) == (points[0], points[-1])
    known = [value for value in values if value is not None]
    if known:
        kept = [point.value for point in found if point.value is not None]
        assert (min(kept), max(kept)) == (min(known), max(known))


def test_few_points_stay_as_they_are():
    points = [Point(float(n), float(n)) for n in range(8)]
    assert thinned(points, extent=8.0, columns=2) == points


def test_a_point_at_the_very_end_stays():
    points = [Point(float(n), float(n % 3)) for n in range(10)]
    assert thinned(points, extent=9.0, columns=2)[-1] == points[-1]


@pytest.mark.parametrize(
    ("marked", "columns", "spans"),
    [
        ([], 4, []),
        ([0, 0, 0, 0], 4, []),
        ([0, 1, 1, 0], 4, [(10.0, 30.0)]),
        ([1, 0, 0, 1], 4, [(0.0, 10.0), (30.0, 40.0)]),
        ([1, 0], 8, [(0.0, 10.0)]),
        ([0, 0, 0, 1, 0, 0, 0, 0], 2, [(0.0, 40.0)]),
        ([1] * 100, 7, [(0.0, 1000.0)]),
    ],
)
def test_marked_stretches_are_widened_to_columns(marked, columns, spans):
    found = merged_spans([one == 1 for one in marked], step=10.0, columns=columns)
    assert [one for span in found for one in span] == pytest.approx(
        [one for span in spans for one in span]
    )
    assert len(found) == len(spans)


@pytest.mark.parametrize(
    ("most", "is_count", "texts"),
    [
        (0.0, True, "0 1"),
        (1.0, True, "0 1"),
        (4.0, True, "0 1 2 3 4"),
        (5.0, True, "0 2 4 6"),
        (18.0, True, "0 5 10 15 20"),
        (340.0, False, "0 100 200 300 400"),
        (0.0, False, "0 1"),
        (0.3, False, "0 0.1 0.2 0.3"),
        (1.0, False, "0 0.5 1"),
        (40_000.0, False, "0 10k 20k 30k 40k"),
        (2.5e9, False, "0 1G 2G 3G"),
    ],
)
def test_values_have_round_ticks(most, is_count, texts):
    ticks = value_ticks(most, intervals=4, is_count=is_count)
    assert [tick.text for tick in ticks] == texts.split()


@given(st.floats(0, 1e18), st.booleans())
def test_the_last_tick_is_as_high_as_the_highest_value(most, is_count):
    ticks = value_ticks(most, intervals=4, is_count=is_count)
    assert 2 <= len(ticks) <= 5
    assert ticks[-1].at >= most * (1 - 1e-6)


@pytest.mark.parametrize(
    ("seconds", "begun", "texts"),
    [
        (40.0, None, "0|10 s|20 s|30 s|40 s"),
        (600.0, None, "0|2 min|4 min|6 min|8 min|10 min"),
        (3 * HOUR, None, "0|1 h|2 h|3 h"),
        (7 * DAY, None, "0|2 d|4 d|6 d"),
        (60.0, NOON, "12:00:00|12:00:15|12:00:30|12:00:45|12:01:00"),
        (3 * HOUR, NOON + 60, "13:00|14:00|15:00"),
        (DAY, NOON, "12:00|18:00|27 Nov|06:00|12:00"),
        (5 * DAY, NOON, "27 Nov|28 Nov|29 Nov|30 Nov|1 Dec"),
    ],
)
def test_times_have_round_ticks(seconds, begun, texts):
    ticks = time_ticks(seconds, intervals=5, begun_unix_seconds=begun)
    assert [tick.text for tick in ticks] == texts.split("|")
    assert all(0 <= tick.at <= seconds for tick in ticks)


def test_times_stand_where_they_are():
    ticks = time_ticks(3 * HOUR, intervals=5, begun_unix_seconds=NOON + 60)
    assert [tick.at for tick in ticks] == [HOUR - 60, 2 * HOUR - 60, 3 * HOUR - 60]


@given(st.floats(0.5, 1e9), st.none() | st.floats(0, 1e10))
def test_there_are_no_more_times_than_fit(seconds, begun):
    assert len(time_ticks(seconds, intervals=8, begun_unix_seconds=begun)) <= 9


def drawn(svg, css_class):
    return [one for one in ET.fromstring(svg).iter() if one.get("class") == css_class]


def one_panel(*points, **line):
    curve = Line(name="a < b", color=Color.BLUE, points=[Point(*one) for one in points], **line)
    panel = Panel(title="p & q", lines=(curve,), seconds=4.0)
    return panels_svg([[panel]], size=Size(width=472, height=148), title="<t>")


@pytest.mark.parametrize(
    ("points", "line", "css_class", "path"),
    [
        ([(0, 1), (2, 4)], {}, "line blue", "M46.0 99.0H246.0V24.0H446.0"),
        ([(0, 4), (1, None), (3, 2)], {}, "line blue", "M46.0 24.0H146.0M346.0 74.0H446.0"),
        ([(0, 4), (1, 2)], {"is_dashed": True}, "line blue dashed", "M46.0 24.0H146.0V74.0H446.0"),
        (
            [(0, 4), (1, None), (3, 2)],
            {"is_filled": True},
            "area blue",
            "M46.0 124V24.0H146.0V124H46.0ZM346.0 124V74.0H446.0V124H346.0Z",
        ),
        ([(0, None)], {}, "line blue", ""),
    ],
)
def test_a_line_keeps_each_value_until_the_next(points, line, css_class, path):
    paths = [one.get("d", "") for one in drawn(one_panel(*points, **line), css_class)]
    # The legend has a short line, or a rectangle that is no path.
    assert [d for d in paths if "h24" not in d][-1:] == [path]


REFS = (ObjectRef("prod", "chat"), ObjectRef("prod", "a<b"))


def simulation(ref=REFS[0], steps=5760):
    recording = Recording(
        ref=ref,
        metrics=(
            RecordedMetric(
                metric=Metric.DUTY_CYCLE,
                demand_milli=(*((n % 7) * 1000 for n in range(steps - 1)), 340_000),
                floor=(*(False,) * (steps - 1), True),
            ),
        ),
        begun_unix_seconds=NOON,
        step_seconds=15.0,
        replicas=(2,) * steps,
        notes=("Gap in </li><script>.",),
    )
    results = tuple(
        ReplayResult(
            policy=policy,
            target_milli=target,
            gpu_hours=48.0,
            saturated_share=0.0,
            changes=1,
            highest_replicas=3,
            seconds=steps * 15.0,
            steps=(ReplicaStep(0.0, 2), ReplicaStep(60.0, None), ReplicaStep(90.0, 3)),
        )
        for policy, target in (
            (AS_IT_WAS, None),
            *((policy, target) for target in (40_000, 60_000) for policy in (OURS, HPA)),
        )
    )
    advice = RecommendedTarget(target_milli=60_000, text="Recommended target: 60.")
    return Simulation(recording=recording, results=results, recommendation=advice)


def titles(svg):
    return [one.text for one in drawn(svg, "name")]


def test_a_panel_for_the_demand_and_each_target():
    svg = simulations_svg([simulation(ref) for ref in REFS])
    assert titles(svg) == [
        title.format(ref)
        for ref in REFS
        for title in (
            "{}: duty_cycle, sum over the pods (%)",
            "{}: replicas at target 40",
            "{}: replicas at target 60 (recommended)",
        )
    ]
    assert len(drawn(svg, "line blue")) == len(drawn(svg, "line orange dashed")) == 4 + 1
    assert len(drawn(svg, "span")) == 2 + 1


def test_a_week_is_no_larger_than_the_picture_can_show():
    week = simulations_svg([simulation(steps=40_320)])
    assert len(week) < 2 * len(simulations_svg([simulation()]))
    (bottom, top) = (
        next(float(one.get("y", "")) - 4 for one in drawn(week, "tick") if one.text == text)
        for text in ("0", "400")
    )
    peak = bottom - (bottom - top) * 340 / 400
    assert f"V{peak:.1f}" in drawn(week, "line green")[-1].get("d", "")


@pytest.mark.parametrize(
    ("metric", "demand_milli", "unit", "top"),
    [
        (Metric.MEMORY_USED_BYTES, 3 * 2**30 * 1000, "(GiB)", "3"),
        (Metric.MEMORY_USED_BYTES, 3_000, "(bytes)", "3"),
        (Metric.POWER_USAGE_MILLIWATTS, 300_000_000, "(W)", "300"),
        (Metric.REQUESTS, 3_000, "pods", "3"),
        (Metric.QUEUE, 3_000, "queue", "3"),
    ],
)
def test_demand_is_shown_in_a_unit_for_people(metric, demand_milli, unit, top):
    one = simulation(steps=2)
    recording = with_first(one.recording, metric=metric, demand_milli=(demand_milli,) * 2)
    svg = simulations_svg([replace(one, recording=recording)])
    assert titles(svg)[0].endswith(unit)
    texts = [tick.text for tick in drawn(svg, "tick")]
    assert top in texts[: texts.index("0", 1)]


def test_each_metric_has_a_panel_of_its_demand():
    one = simulation(steps=3)
    metrics = (*one.recording.metrics, recorded_metric([1_000] * 3, Metric.QUERY))
    svg = simulations_svg([replace(one, recording=replace(one.recording, metrics=metrics))])
    first, second, third, *_ = titles(svg)
    assert ("duty_cycle" in first, "query" in second) == (True, True)
    assert "duty_cycle target" in third


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_loads_nothing_and_escapes_names():
    text = simulations_html([simulation(ref) for ref in REFS], parse_prices(["2"]))
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.links == ["#workload-1", "#workload-2"]
    assert "url(" not in text
    assert page.tags.count("svg") == page.tags.count("table") == 2
    assert page.tags.count("tr") == 2 * 6
    assert "prod/a&lt;b" in text
    assert "96.00" in text


def test_nothing_known_is_still_a_picture():
    one = simulation(steps=3)
    recording = replace(with_first(one.recording, demand_milli=(None,) * 3), replicas=(None,) * 3)
    nothing = replace(one, recording=recording, results=())
    assert len(titles(simulations_svg([nothing]))) == 2
    assert "The demand is unknown" in simulations_html([nothing])
