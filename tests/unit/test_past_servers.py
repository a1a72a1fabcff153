# SPDX-License-Identifier: Apache-2.0
"""Model servers in the past: the same values as a page has, at each step and for each pod."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, MetricSelector, ObjectRef
from scaler.readings.prometheus.past_servers import (
    POD_LABELS,
    PastServers,
    ScrapedPage,
    chosen_measure,
    pages_query,
    server_measure,
)
from scaler.readings.prometheus.range_chunks import PastRow, RangeChunk, Span
from scaler.readings.servers.table import BY_NAME, SERVERS, NotPublishedError, Term
from tests.unit.serverpage import read

LABELS = POD_LABELS[0]
POD = ObjectRef("llm", "a-1")
STEPS = 4
OWN = (Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT)
# Their terms are rates, of two pages.
GAUGES = [row for row in SERVERS if row.name not in ("triton", "torchserve")]


def page(instance: str = "i", pod: ObjectRef = POD) -> ScrapedPage:
    return ScrapedPage(pod, ("j", instance, ""))


def row_of(where: ScrapedPage, values: list[float | None]) -> PastRow:
    labels = dict(zip((*LABELS, "job", "instance"), (*where.pod[:2], *where.target), strict=False))
    points = tuple((15.0 * n, str(one)) for n, one in enumerate(values) if one is not None)
    return PastRow(labels=labels, points=points)


def values_of(
    past: PastServers, rows: dict[Term, list[PastRow]]
) -> dict[str, list[tuple[float, float]]]:
    asked = tuple(dict.fromkeys(term for one in past.measures.values() for term in one.terms()))
    assert len(past.queries(60)) == len(asked)
    chunk = RangeChunk(
        span=Span(0.0, 15.0, STEPS), rows=tuple(tuple(rows.get(term, ())) for term in asked)
    )
    return {pod.name: list(points.values) for pod, points in past.read(chunk).items()}


@given(st.sampled_from(GAUGES), st.sampled_from(OWN), st.data())
def test_each_step_has_the_value_of_such_a_page(row, metric, data):
    try:
        measure = server_measure(row, metric)
    except NotPublishedError:
        return
    # Prometheus leaves out negative ones, and fills in 0 for what a server has not begun to count.
    numbers = st.sampled_from([0.0, 0.25, 1.0, 1.0005, 7.0])
    series = {
        term: data.draw(
            st.lists(
                numbers if term.absent_is_zero else st.none() | numbers,
                min_size=STEPS,
                max_size=STEPS,
            )
        )
        for term in dict.fromkeys(measure.terms())
    }
    past = PastServers({page(): measure}, LABELS, matchers=())
    rows = {term: [row_of(page(), some)] for term, some in series.items()}
    found = dict(values_of(past, rows).get(POD.name, []))
    for step in range(STEPS):
        lines = [
            f"{term.series} {some[step]}" for term, some in series.items() if some[step] is not None
        ]
        name = row.recognised_by[0]
        if all(term.series.name != name for term in series):
            lines.append(f"{name} 0")
        if any(one.startswith((f"{name}{{", f"{name} ")) for one in lines):
            value = read("\n".join((*lines, "")), server=row.name).values[metric]
            assert found.get(15.0 * step) == (value if isinstance(value, float) else None)


def test_of_several_pages_of_a_pod_the_most_counts_and_pods_stay_apart():
    other = ObjectRef("llm", "a-2")
    term = Term(series=MetricSelector(name="x"))
    measure = chosen_measure(term.series)
    pages = [page("one"), page("two"), page("one", other)]
    past = PastServers(dict.fromkeys(pages, measure), LABELS, matchers=())
    numbers = ([1.0, 5.0, None, 2.0], [3.0, 4.0, None, None], [9.0, None, None, None])
    rows = [row_of(one, some) for one, some in zip(pages, numbers, strict=True)]
    rows.append(row_of(page("unknown"), [99.0] * STEPS))
    assert values_of(past, {term: rows}) == {
        "a-1": [(0, 3), (15, 5), (45, 2)],
        "a-2": [(0, 9)],
    }


def test_a_value_that_no_page_may_have_is_left_out_and_counted():
    past = PastServers(
        {page(): server_measure(BY_NAME["tei"], Metric.REQUESTS_WAITING)}, LABELS, matchers=()
    )
    rows = (row_of(page(), [float("nan"), 1.0, 1e12, -1.0]),)
    (points,) = past.read(RangeChunk(span=Span(0, 15, STEPS), rows=(rows,))).values()
    assert (list(points.values), points.impossible) == ([(15, 1)], 3)


def test_the_queries_are_written_from_the_table():
    measures = {page(): server_measure(BY_NAME["sglang"], Metric.REQUESTS_WAITING)}
    (query,) = PastServers(measures, LABELS, matchers=('pod=~"a-.*"',)).queries(60)
    series = 'sglang:num_queue_reqs{priority="", pod!="", pod=~"a-.*"}'
    by = "namespace, pod, job, instance, prometheus_replica"
    assert query == (
        f"sum by ({by}) (max without (tp_rank, pp_rank, moe_ep_rank)"
        f" ({series} and time() - timestamp({series}) < 60)) unless on ({by}) {series} < 0"
    )
    assert pages_query(["a", "b:c"], LABELS, matchers=(), seconds=90) == (
        f'group by ({by}, __name__) (last_over_time({{__name__=~"a|b:c", pod!=""}}[90000ms]))'
    )


@pytest.mark.parametrize("label", ["endpoint", "pod"])
def test_a_label_that_targets_have_too_is_asked_for_under_both_names(label):
    measure = chosen_measure(MetricSelector(name="x", labels=((label, 'a"b'),)))
    one, two = PastServers({page(): measure}, LABELS, matchers=()).queries(60)
    assert f'x{{{label}="a\\"b", ' in one
    assert f'x{{exported_{label}="a\\"b", ' in two
