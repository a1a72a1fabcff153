# SPDX-License-Identifier: Apache-2.0
"""Snapshots -> exposition text: families, label order, formats, the name[] filter."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from exporter.attribution.attribute import Holdings, attribute, remember
from exporter.exposition import metrics
from exporter.exposition.pages import Exposition
from exporter.exposition.table import BASE_FAMILIES, LABELS
from exporter.model import Allocation, Container, Device, DeviceReading, Readings, Scope

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def reading(uuid="GPU-0", **values):
    known = {
        "duty_cycle_percent": 63.5,
        "memory_total_bytes": 16_106_127_360,
        "memory_used_bytes": 1024,
        "power_usage_milliwatts": 70_000,
        "temperature_celsius": 45,
        "fan_speed_percent": 30,
    }
    return DeviceReading(
        device=Device(uuid=uuid, name="Tesla T4", minor_number=int(uuid[-1])), **(known | values)
    )


def snapshot(*readings, **holders):
    """`holders` maps a pod's name to the device IDs that it holds."""
    holdings = remember(
        Holdings(),
        [
            Allocation(
                container=Container(namespace_name="ns", pod_name=pod, container_name="main"),
                resource_name="nvidia.com/gpu",
                device_id=device_id,
            )
            for pod, device_ids in holders.items()
            for device_id in device_ids
        ],
    )
    taken = Readings(
        taken_at_seconds=0.0, device_count=len(readings), unreadable_count=0, devices=readings
    )
    return attribute(taken, holdings)


def text(shot, **options):
    return Exposition(node_name="node-1", self_metrics=()).render(shot, **options).body.decode()


def series(shot):
    return [line for line in text(shot).splitlines() if not line.startswith("#")]


def test_the_base_families_with_the_labels_in_the_order_of_the_contract():
    labels = (
        'minor_number="0",uuid="GPU-0",name="Tesla T4",node_name="node-1",namespace_name="ns",'
        'pod_name="pod",container_name="main",allocate_mode="exclusive"'
    )
    assert series(snapshot(reading(), pod=["GPU-0"])) == [
        'nvidia_gpu_num_devices{node_name="node-1"} 1.0',
        f"nvidia_gpu_duty_cycle{{{labels}}} 63.5",
        f"nvidia_gpu_memory_total_bytes{{{labels}}} 1.610612736e+10",
        f"nvidia_gpu_memory_used_bytes{{{labels}}} 1024.0",
        f"nvidia_gpu_power_usage_milliwatts{{{labels}}} 70000.0",
        f"nvidia_gpu_temperature_celsius{{{labels}}} 45.0",
        f"nvidia_gpu_fanspeed_percent{{{labels}}} 30.0",
    ]


def test_a_free_gpu_has_empty_pod_labels():
    assert (
        'nvidia_gpu_duty_cycle{minor_number="0",uuid="GPU-0",name="Tesla T4",node_name="node-1",'
        'namespace_name="",pod_name="",container_name="",allocate_mode=""} 63.5'
    ) in series(snapshot(reading()))


@pytest.mark.parametrize(
    ("field", "family"),
    [
        pytest.param("duty_cycle_percent", "nvidia_gpu_duty_cycle", id="duty cycle"),
        pytest.param("memory_total_bytes", "nvidia_gpu_memory_total_bytes", id="memory total"),
        pytest.param("memory_used_bytes", "nvidia_gpu_memory_used_bytes", id="memory used"),
        pytest.param("power_usage_milliwatts", "nvidia_gpu_power_usage_milliwatts", id="power"),
        pytest.param("temperature_celsius", "nvidia_gpu_temperature_celsius", id="temperature"),
        pytest.param("fan_speed_percent", "nvidia_gpu_fanspeed_percent", id="fan"),
    ],
)
def test_an_unknown_reading_leaves_out_that_series_only(field, family):
    both = text(snapshot(reading("GPU-0"), reading("GPU-1", **{field: None})))
    assert both.count(f"\n{family}{{") == 1
    for other in BASE_FAMILIES:
        if other.name != family and other.scope is Scope.HOLDER:
            assert both.count(f"\n{other.name}{{") == 2
    # A family that nothing has is not announced either.
    assert family not in text(snapshot(reading(**{field: None})))


def test_memory_used_of_a_gpu_shared_by_several_is_left_out_the_rest_repeats():
    shared = text(snapshot(reading(), a=["GPU-0::0"], b=["GPU-0::1"]))
    assert shared.count("\nnvidia_gpu_duty_cycle{") == 2
    assert shared.count("\nnvidia_gpu_memory_total_bytes{") == 2
    assert "nvidia_gpu_memory_used_bytes" not in shared


def test_memory_used_under_share_is_published_while_one_container_is_alone():
    alone = text(snapshot(reading(), a=["GPU-0::0", "GPU-0::1"]))
    assert alone.count("\nnvidia_gpu_memory_used_bytes{") == 1
    assert 'allocate_mode="share"} 1024.0' in alone


def test_label_values_are_escaped_and_an_unknown_minor_number_is_empty():
    odd = DeviceReading(
        device=Device(uuid="GPU-x", name='a "quoted"\\name', minor_number=None),
        temperature_celsius=1,
    )
    (family,) = [
        one
        for one in text_string_to_metric_families(text(snapshot(odd)))
        if one.name == "nvidia_gpu_temperature_celsius"
    ]
    assert family.samples[0].labels["name"] == 'a "quoted"\\name'
    assert family.samples[0].labels["minor_number"] == ""


def test_without_a_snapshot_there_are_no_series_about_gpus():
    assert text(None) == ""
    assert text(None, accept=OPENMETRICS) == "# EOF\n"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("", "text/plain; version=0.0.4; charset=utf-8", id="nothing asked"),
        pytest.param("*/*", "text/plain; version=0.0.4; charset=utf-8", id="anything"),
        pytest.param(
            OPENMETRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            id="OpenMetrics",
        ),
        pytest.param(
            "application/openmetrics-text; version=abc",
            "text/plain; version=0.0.4; charset=utf-8",
            id="nonsense",
        ),
        pytest.param(
            "application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            id="a version to come, then ours",
        ),
        pytest.param(
            f"{OPENMETRICS};q=0.3,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/plain; version=0.0.4; charset=utf-8",
            id="text rather than OpenMetrics",
        ),
        pytest.param(
            "text/plain;version=0.0.4;q=0.3,application/openmetrics-text; version=1.0.0; q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            id="OpenMetrics rather than text",
        ),
        pytest.param(
            f"{OPENMETRICS};q=0", "text/plain; version=0.0.4; charset=utf-8", id="no OpenMetrics"
        ),
        pytest.param(
            f"{OPENMETRICS};q=much", "text/plain; version=0.0.4; charset=utf-8", id="no quality"
        ),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
            "*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            id="Prometheus 3",
        ),
    ],
)
def test_content_negotiation(accept, content_type):
    rendered = Exposition(node_name="n", self_metrics=()).render(snapshot(reading()), accept=accept)
    assert rendered.content_type == content_type
    assert rendered.body.endswith(b"# EOF\n") == content_type.startswith("application/openmetrics")


def own_metrics():
    registry = CollectorRegistry()
    Counter("nvidia_gpu_exporter_errors", "Errors.", registry=registry)
    Histogram("nvidia_gpu_exporter_cycle_duration_seconds", "Cycles.", registry=registry)
    return registry


@pytest.mark.parametrize(
    "accept", [pytest.param("", id="text"), pytest.param(OPENMETRICS, id="om")]
)
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["nvidia_gpu_duty_cycle"], {"nvidia_gpu_duty_cycle"}, id="a GPU family"),
        pytest.param(
            ["nvidia_gpu_duty_cycle", "nvidia_gpu_exporter_errors_total"],
            {"nvidia_gpu_duty_cycle", "nvidia_gpu_exporter_errors_total"},
            id="a GPU family and one of our own",
        ),
        pytest.param(
            ["nvidia_gpu_exporter_cycle_duration_seconds_count"],
            {"nvidia_gpu_exporter_cycle_duration_seconds_count"},
            id="one series of a histogram",
        ),
        pytest.param(["no_such_name"], set(), id="unknown"),
    ],
)
def test_the_name_filter_applies_to_all_families(names, expected, accept):
    exposition = Exposition(node_name="n", self_metrics=[own_metrics()])
    for _ in range(2):  # rendered, then kept
        body = exposition.render(snapshot(reading()), accept=accept, names=names).body.decode()
        lines = [line for line in body.splitlines() if not line.startswith("#")]
        assert {line.split("{")[0].split(" ")[0] for line in lines} == expected
        assert body.endswith("# EOF\n") == bool(accept)


def test_a_whole_histogram_can_be_asked_for_by_its_family():
    exposition = Exposition(node_name="n", self_metrics=[own_metrics()])
    body = exposition.render(None, names=["nvidia_gpu_exporter_cycle_duration_seconds"]).body
    assert b"_bucket{" in body
    assert b"_sum " in body


def test_each_snapshot_is_rendered_anew():
    exposition = Exposition(node_name="n", self_metrics=())
    first, second = snapshot(reading()), snapshot(reading(duty_cycle_percent=7.25))
    assert b"} 63.5\n" in exposition.render(first).body
    assert exposition.render(first).body == exposition.render(first).body
    assert b"} 7.25\n" in exposition.render(second).body
    assert exposition.render(None).body == b""


def prepare(exposition, shot):
    for _ in exposition.prepare(shot):
        pass


def test_while_a_snapshot_is_prepared_the_last_one_is_answered_as_before():
    exposition = Exposition(node_name="n", self_metrics=())
    last, new = (snapshot(reading(duty_cycle_percent=float(number))) for number in range(2))
    formats: list[dict[str, Any]] = [{}, {"accept": OPENMETRICS, "gzip": True}]
    before = [exposition.render(last, **how) for how in formats]
    assert exposition.is_asked
    steps = exposition.prepare(new)
    assert next(steps, 0) is None
    assert not exposition.is_asked, "not since"
    for _ in steps:
        assert [exposition.render(last, **how) for how in formats] == before
    plain = Exposition(node_name="n", self_metrics=())
    after = [exposition.render(new, **how) for how in formats]
    assert after == [plain.render(new, **how) for how in formats]


def test_a_prepared_snapshot_is_answered_as_any_other():
    prepared, plain = (Exposition(node_name="n", self_metrics=()) for _ in range(2))
    asked: list[dict[str, Any]] = [
        {"accept": ""},
        {"accept": OPENMETRICS},
        {"names": ["nvidia_gpu_num_devices"]},
        {"accept": OPENMETRICS, "gzip": True},
    ]
    for number in range(3):
        shot = snapshot(reading(duty_cycle_percent=float(number)))
        prepare(prepared, shot)
        for options in asked:
            assert prepared.render(shot, **options) == plain.render(shot, **options)


def test_a_scrape_does_not_render_what_was_prepared(monkeypatch):
    exposition = Exposition(node_name="n", self_metrics=())
    exposition.render(snapshot(reading()))
    shot = snapshot(reading(duty_cycle_percent=5.0))
    prepare(exposition, shot)
    monkeypatch.setattr(metrics, "family_series", None)
    assert b"} 5.0\n" in exposition.render(shot).body


def test_slow_metrics_are_collected_once_per_snapshot_and_live_without_one():
    asked: list[int] = []

    class Slow:
        def collect(self) -> list[GaugeMetricFamily]:
            asked.append(len(asked))
            return [GaugeMetricFamily("slow", "Number of the reading.", value=asked[-1])]

    exposition = Exposition(node_name="n", self_metrics=(), slow_metrics=(Slow(),))
    exposition.render(snapshot(reading()))
    for number in (1, 2):
        shot = snapshot(reading(duty_cycle_percent=float(number)))
        prepare(exposition, shot)
        for _ in range(3):
            assert f"\nslow {number}.0\n".encode() in exposition.render(shot).body
    assert [exposition.render(None).body.endswith(f"slow {n}.0\n".encode()) for n in (3, 4)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("shot", [None, snapshot(reading())], ids=["no snapshot", "a snapshot"])
def test_the_gzipped_answer_is_the_plain_one(shot, accept):
    own = Counter("own", "Of the exporter itself.", registry=None)
    exposition = Exposition(node_name="n", self_metrics=(own,))
    plain = exposition.render(shot, accept=accept).body
    for _ in range(2):
        zipped = exposition.render(shot, accept=accept, gzip=True).body
        assert gzip.decompress(zipped) == plain


def test_many_different_filters_still_get_the_right_answer():
    exposition = Exposition(node_name="n", self_metrics=())
    shot = snapshot(reading())
    for number in range(40):
        names = ["nvidia_gpu_num_devices", f"other_{number}"]
        assert exposition.render(shot, names=names).body.count(b"# TYPE") == 1


def test_the_families_are_those_of_the_contract():
    assert [family.name for family in BASE_FAMILIES] == [
        "nvidia_gpu_num_devices",
        "nvidia_gpu_duty_cycle",
        "nvidia_gpu_memory_total_bytes",
        "nvidia_gpu_memory_used_bytes",
        "nvidia_gpu_power_usage_milliwatts",
        "nvidia_gpu_temperature_celsius",
        "nvidia_gpu_fanspeed_percent",
    ]
    assert LABELS == (
        "minor_number",
        "uuid",
        "name",
        "node_name",
        "namespace_name",
        "pod_name",
        "container_name",
        "allocate_mode",
    )
