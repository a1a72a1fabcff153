# SPDX-License-Identifier: Apache-2.0
"""A metric: one target annotation, families of the exporter, two readers, words and panels."""

from __future__ import annotations

from exporter.exposition.table import FAMILIES
from scaler.decision.decide import decide
from scaler.metricsapi.names import FAMILIES as SERVED
from scaler.model import SERVER_METRICS, TOTAL_METRICS, Metric, ScalingPolicy
from scaler.policy.annotations import (
    ANNOTATIONS,
    ENABLED,
    MAX_REPLICAS,
    POD_METRIC,
    QUERY,
    QUEUE,
    TARGET_ANNOTATIONS,
)
from scaler.policy.manifests import check_manifests
from scaler.policy.parse import parse_policy
from scaler.quantities import format_value
from scaler.readings import devices
from scaler.readings.exposition import families_for
from scaler.readings.prometheus.names import PRESETS
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from scaler.web.wording import METRIC_LABELS, number_and_unit
from tests import dashboards
from tests.unit.deployments import NOW, deployment, policy, reading, ready_pods
from tests.unit.places import manifest, places


def targeted(metric, value):
    """Return the annotations of a Deployment with one target; a queue has no number of its own."""
    annotations = {ENABLED: "true", MAX_REPLICAS: "10", TARGETS[metric]: value}
    match metric:
        case Metric.QUERY:
            annotations[QUERY] = "sum(one)"
        case Metric.POD_METRIC:
            annotations[POD_METRIC] = "one"
        case Metric.QUEUE:
            annotations[QUEUE] = "http://gateway:80/metrics waiting" if value == "1" else value
            annotations[TARGET_ANNOTATIONS[Metric.REQUESTS]] = "1"
    return annotations


def metric_is_parsed(metric):
    parsed = parse_policy(targeted(metric, "1"), query_supported=True)
    assert isinstance(parsed, ScalingPolicy), parsed
    assert metric in [target.metric for target in parsed.targets]


def metric_is_checked(metric):
    assert check_manifests([("web.yaml", manifest(targeted(metric, "1")))]).errors == 0
    (problem,) = check_manifests([("web.yaml", manifest(targeted(metric, "-1")))]).findings
    assert TARGETS[metric] in problem.message


def metric_is_decided_on_and_explained(metric):
    made = decide(
        deployment(ready_pods(2)),
        policy({metric: 40}, max_replicas=10),
        reading([63, 63], metric=metric),
        None,
        NOW,
    )
    text = explain_text(decision_document(made, decided_unix_seconds=0), now_unix_seconds=1)
    assert f"Metric {metric.value}, target" in text


def metric_has_bounds(metric):
    assert {*devices.FAMILIES[metric]} <= devices.BOUNDS.keys()


def metric_has_series_in_every_preset(metric):
    for name, preset in PRESETS.items():
        assert {*devices.FAMILIES[metric]} <= preset.families.keys(), name


def metric_is_published(metric):
    published = {family.name for family in FAMILIES}
    assert {*devices.FAMILIES[metric]} <= {*families_for([metric])} & published


def metric_is_in_a_dashboard(metric):
    queries = " ".join(query.expr for query in dashboards.queries())
    for family in devices.FAMILIES[metric]:
        assert family in queries, family


GPU_METRICS = [one for one in Metric if one not in SERVER_METRICS | TOTAL_METRICS]
TARGETS = {**TARGET_ANNOTATIONS, Metric.QUEUE: QUEUE}
METRIC_PLACES = {
    "scaler/policy/annotations.py (TARGET_ANNOTATIONS)": lambda one: TARGETS[one],
    "scaler/policy/annotations.py (ANNOTATIONS)": lambda one: {
        row.name: row for row in ANNOTATIONS
    }[TARGETS[one]],
    "scaler/policy/parse.py": metric_is_parsed,
    "gpu-scaler check": metric_is_checked,
    "gpu-scaler explain": metric_is_decided_on_and_explained,
    "scaler/quantities.py (format_value)": lambda one: format_value(one, 1000),
    "scaler/web/wording.py (METRIC_LABELS)": lambda one: METRIC_LABELS[one],
    "scaler/web/wording.py (number_and_unit)": lambda one: number_and_unit(one, 1000),
}
GPU_METRIC_PLACES = {
    "scaler/readings/devices.py (FAMILIES)": lambda one: devices.FAMILIES[one],
    "scaler/readings/devices.py (BOUNDS)": metric_has_bounds,
    "scaler/readings/prometheus/names.py (PRESETS)": metric_has_series_in_every_preset,
    "exporter/exposition/table.py (FAMILIES)": metric_is_published,
    "scaler/metricsapi/names.py (FAMILIES)": lambda one: (
        [SERVED.index(family) for family in devices.FAMILIES[one]]
    ),
    "daemonset/monitoring (a panel)": metric_is_in_a_dashboard,
}


@places(METRIC_PLACES, Metric)
def test_a_metric_is_known(member, check):
    check(member)


@places(GPU_METRIC_PLACES, GPU_METRICS)
def test_a_metric_of_gpus_is_known(member, check):
    check(member)
