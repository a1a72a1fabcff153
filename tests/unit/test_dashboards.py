# SPDX-License-Identifier: Apache-2.0
"""The dashboards as they are shipped: readable, linked, and about what exists."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest

from daemonset.monitoring.__main__ import BUILDERS
from daemonset.monitoring.names import collectors, metric_names
from exporter.exposition.table import FAMILIES
from exporter.model import Collector
from tests import dashboards

UIDS = sorted(dashboards.DASHBOARDS)
PANELS = [
    pytest.param(uid, panel, id=f"{uid}: {panel['title']}")
    for uid in UIDS
    for panel in dashboards.panels(uid)
]
by_dashboard = pytest.mark.parametrize("uid", UIDS)
by_panel = pytest.mark.parametrize(("uid", "panel"), PANELS)


def test_there_is_a_file_for_each():
    assert sorted(BUILDERS) == UIDS


@by_dashboard
def test_a_dashboard_says_what_it_is_and_leads_to_the_others(uid):
    dashboard = dashboards.DASHBOARDS[uid]
    assert dashboard["uid"] == uid
    assert dashboard["description"].endswith(".")
    (link,) = dashboard["links"]
    assert link["includeVars"]
    assert link["keepTime"]
    assert all(set(link["tags"]) <= set(one["tags"]) for one in dashboards.DASHBOARDS.values())


@by_panel
def test_a_panel_explains_itself(uid, panel):
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
    if panel["type"] == "table":
        shown = {
            one["matcher"]["options"]: one["properties"]
            for one in panel["fieldConfig"]["overrides"]
        }
        renamed = panel["transformations"][-1]["options"]["renameByName"]
        for name, header in renamed.items():
            if name.startswith("Value"):
                assert {"unit"} <= {one["id"] for one in shown[header]}, header
    else:
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "timeseries":
        assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "stat":
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


@by_panel
def test_a_panel_says_which_collectors_it_needs(uid, panel):
    """Otherwise an empty panel looks like a fault."""
    collector_of = {family.name: family.collector.value for family in FAMILIES if family.collector}
    words = set(re.findall(r"\w+", " ".join(target["expr"] for target in panel["targets"])))
    needed = sorted({collector_of[word] for word in words if word in collector_of})
    found = re.findall(r"Needs `--collectors ([\w,-]+)`\.$", panel["description"])
    assert found == ([",".join(needed)] if needed else [])


@by_panel
def test_a_legend_has_only_labels_that_the_query_keeps(uid, panel):
    for target in panel["targets"]:
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
        used = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        if "by (" in target["expr"]:
            assert used <= kept
        elif used:
            assert used == {"instance"}


@by_panel
def test_the_columns_of_a_table_are_the_labels_of_its_queries(uid, panel):
    if panel["type"] != "table":
        return
    renamed = panel["transformations"][-1]["options"]["renameByName"]
    keys = {name for name in renamed if not name.startswith("Value")}
    for target in panel["targets"]:
        outermost = re.match(r"\(?\w+ by \(([^)]*)\)", target["expr"])
        assert outermost is not None, target["expr"]
        assert set(outermost[1].split(", ")) == keys


@by_dashboard
def test_titles_are_unique_and_panels_beside_each_other(uid):
    titles = Counter(panel["title"] for panel in dashboards.panels(uid))
    assert [title for title, count in titles.items() if count > 1] == []
    everything = dashboards.DASHBOARDS[uid]["panels"]
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)
    for one, other in combinations(everything, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one['title']} lies on {other['title']}"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in everything)


@by_dashboard
def test_every_variable_that_is_used_is_there(uid):
    there = dashboards.variables(uid).keys()
    texts = [query.expr for query in dashboards.queries() if query.dashboard == uid]
    texts += [
        one["query"]["query"]
        for one in dashboards.variables(uid).values()
        if one["type"] == "query"
    ]
    used = {name for text in texts for name in re.findall(r"\$(\w+)", text)}
    assert used - {"__rate_interval"} <= there


@by_dashboard
def test_every_link_leads_to_a_dashboard_that_knows_its_variables(uid):
    urls = re.findall(r'"url": "(/d/[^\n]+)"', (dashboards.FOLDER / f"{uid}.json").read_text())
    for url in urls:
        target, _, rest = url.removeprefix("/d/").partition("?")
        assert target in dashboards.DASHBOARDS
        set_there = set(re.findall(r"var-(\w+)=", rest))
        assert set_there <= dashboards.variables(target).keys()
        taken_along = set(re.findall(r"\$\{(\w+):queryparam\}", rest))
        assert taken_along <= dashboards.variables(uid).keys()


@by_dashboard
def test_every_query_can_be_limited_to_a_cluster(uid):
    for query in dashboards.queries():
        if query.dashboard == uid:
            selectors = len(re.findall(r"\b(?:nvidia_gpu|gpu_scaler|process)_\w+\{", query.expr))
            limited = len(re.findall(r'\{cluster=~"\$cluster"', query.expr))
            assert (
                selectors
                == limited
                == sum(
                    len(re.findall(rf"\b{name}\b", query.expr)) for name in metric_names(query.expr)
                )
            ), query.expr


def test_names_of_metrics_are_found_and_recorded_ones_are_not():
    expression = (
        'sum(nvidia_gpu_a{x="gpu_scaler"}) / uuid:nvidia_gpu_b:max + rate(gpu_scaler_c_total[5m])'
    )
    assert metric_names(expression) == {"nvidia_gpu_a", "gpu_scaler_c_total"}


def test_collectors_are_named_once_each():
    expressions = [
        "nvidia_gpu_sm_active_ratio / nvidia_gpu_tensor_active_ratio",
        "nvidia_gpu_clock_hertz",
    ]
    assert collectors(expressions) == [Collector.CLOCKS, Collector.GPM]
