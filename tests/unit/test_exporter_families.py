# SPDX-License-Identifier: Apache-2.0
"""The extended families: the table's own rules, and how samples become series."""

from __future__ import annotations

import re

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from exporter.attribution.attribute import Holdings, attribute, remember
from exporter.exposition import families, metrics
from exporter.exposition.pages import Exposition
from exporter.exposition.table import EXTENDED_FAMILIES, FAMILIES, LABELS
from exporter.model import (
    Allocation,
    Collector,
    Container,
    Device,
    DeviceReading,
    MetricType,
    Readings,
    Scope,
)

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def exposed(*readings, node=(), pods=(), accept="", names=()):
    """Render readings; `pods` are (pod, device ID)."""
    holdings = remember(
        Holdings(),
        [
            Allocation(
                container=Container(namespace_name="ns", pod_name=pod, container_name="main"),
                resource_name="nvidia.com/gpu",
                device_id=device_id,
            )
            for pod, device_id in pods
        ],
    )
    taken = Readings(
        taken_at_seconds=0.0,
        device_count=len(readings),
        unreadable_count=0,
        devices=readings,
        node=node,
    )
    exposition = Exposition(node_name="node-1", self_metrics=())
    rendered = exposition.render(attribute(taken, holdings), accept=accept, names=names)
    return rendered.body.decode()


def gpu(*samples, uuid="GPU-0"):
    device = Device(uuid=uuid, name="Tesla T4", minor_number=int(uuid[-1]))
    return DeviceReading(device=device, extended=samples)


def lines(text, family):
    return [line for line in text.splitlines() if line.startswith(f"{family}{{")]


@pytest.mark.parametrize("family", EXTENDED_FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_conventions(family):
    assert re.fullmatch(r"nvidia_gpu_[a-z0-9]+(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_total") == (family.type is MetricType.COUNTER)
    assert family.name.endswith("_info") == (family.type is MetricType.INFO)
    assert not family.name.endswith(("_count", "_sum", "_bucket", "_created"))
    stem = family.name.removesuffix("_total")
    for unit in ("hertz", "watts", "joules", "bytes", "bytes per second"):
        assert (family.unit == unit) == stem.endswith("_" + unit.replace(" ", "_"))
    assert family.unit.startswith("ratio") == stem.endswith("_ratio")
    assert family.help.endswith(".")
    assert family.source.startswith("nvml")


def test_names_are_unique():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)


def test_every_collector_has_families():
    assert {family.collector for family in EXTENDED_FAMILIES} == set(Collector)


@pytest.mark.parametrize("family", EXTENDED_FAMILIES, ids=lambda family: family.name)
def test_own_labels_are_not_those_of_every_series(family):
    assert not set(family.labels) & set(LABELS)


def test_own_labels_follow_those_of_the_contract():
    text = exposed(gpu(families.CLOCK.sample(1.5e9, "sm")), pods=[("pod", "GPU-0")])
    assert lines(text, "nvidia_gpu_clock_hertz") == [
        'nvidia_gpu_clock_hertz{minor_number="0",uuid="GPU-0",name="Tesla T4",node_name="node-1",'
        'namespace_name="ns",pod_name="pod",container_name="main",allocate_mode="exclusive",'
        'clock="sm"} 1.5e+09'
    ]


def test_every_holder_of_a_shared_gpu_has_its_series_but_info_is_there_once():
    info = families.GPU_INFO.sample(1, "00000000:10:00.0", "7", "900", "96.00", "disabled")
    text = exposed(
        gpu(families.ENERGY.sample(12.5), info), pods=[("a", "GPU-0::0"), ("b", "GPU-0::1")]
    )
    assert len(lines(text, "nvidia_gpu_energy_joules_total")) == 2
    assert lines(text, "nvidia_gpu_info") == [
        'nvidia_gpu_info{minor_number="0",uuid="GPU-0",name="Tesla T4",node_name="node-1",'
        'pci_bus_id="00000000:10:00.0",serial="7",board_part_number="900",vbios_version="96.00",'
        'mig_mode="disabled"} 1.0'
    ]


def test_what_belongs_to_the_node_has_its_name_only():
    text = exposed(gpu(), node=(families.DRIVER_INFO.sample(1, "580.65.06", "13.0", "13.580"),))
    assert lines(text, "nvidia_gpu_driver_info") == [
        'nvidia_gpu_driver_info{node_name="node-1",driver_version="580.65.06",'
        'cuda_version="13.0",nvml_version="13.580"} 1.0'
    ]


def test_a_family_without_samples_is_not_announced():
    text = exposed(gpu(families.PERFORMANCE_STATE.sample(0)))
    assert "nvidia_gpu_performance_state" in text
    assert text.count("# TYPE") == 2  # with the number of devices


def _one_of_each():
    return [
        family.sample(2, *("x" for _ in family.labels))
        for family in EXTENDED_FAMILIES
        if family.type is not MetricType.INFO
    ]


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        pytest.param("", text_string_to_metric_families, id="text"),
        pytest.param(OPENMETRICS, parse_openmetrics, id="OpenMetrics"),
    ],
)
def test_all_families_can_be_parsed_with_their_types(accept, parse):
    text = exposed(gpu(*_one_of_each()), accept=accept)
    types = {
        sample.name: metric.type
        for metric in parse(text)
        for sample in metric.samples
        if sample.name != "nvidia_gpu_num_devices"
    }
    assert types == {
        family.name: family.type.value
        for family in EXTENDED_FAMILIES
        if family.type is not MetricType.INFO
    }


@pytest.mark.parametrize("family", EXTENDED_FAMILIES, ids=lambda family: family.name)
def test_the_filter_knows_the_name_of_every_series(family):
    sample = family.sample(1, *("x" for _ in family.labels))
    in_node = family.scope is Scope.NODE
    text = exposed(
        gpu(*() if in_node else (sample,)),
        node=(sample,) if in_node else (),
        names=[family.name],
    )
    assert [line.partition("{")[0] for line in text.splitlines() if line[0] != "#"] == [family.name]


class Placed(str):
    """A label's name that prometheus-client, which sorts labels, leaves at its place."""

    __slots__ = ()

    def __lt__(self, other):
        return False


# What a driver or a cluster might come up with, and what Go and Python write differently.
NASTY = 'a"b\\c\nd\u00e9'
VALUES = st.one_of(st.floats(), st.integers(min_value=0, max_value=2**63))


@given(
    values=st.lists(VALUES, min_size=1, max_size=4),
    label=st.one_of(st.just(NASTY), st.text(max_size=6)),
    accept=st.sampled_from(["", OPENMETRICS]),
    names=st.sets(
        st.sampled_from(["nvidia_gpu_num_devices", "nvidia_gpu_energy_joules_total", "nvidia_gpu"])
    ),
)
def test_the_text_is_byte_for_byte_that_of_prometheus_client(values, label, accept, names):
    device = Device(uuid="GPU-0", name=label, minor_number=0)
    samples = [
        family.sample(value, *(label for _ in family.labels))
        for family in EXTENDED_FAMILIES
        for value in values
        if family.scope is not Scope.NODE
    ]
    reading = DeviceReading(
        device=device, extended=tuple(samples), duty_cycle_percent=values[0], memory_used_bytes=7
    )
    node = (families.DRIVER_INFO.sample(1, label, "13.0", ""),)
    taken = Readings(
        taken_at_seconds=0.0, device_count=1, unreadable_count=0, devices=(reading,), node=node
    )
    snapshot = attribute(taken, Holdings())
    exposition = Exposition(node_name=label, self_metrics=())
    ours = exposition.render(snapshot, accept=accept, names=names).body

    class Wanted:
        def collect(self):
            for metric in metrics.families(snapshot, node_name=label):
                if not names or names & {metric.name, *(one.name for one in metric.samples)}:
                    metric.samples = [
                        one._replace(labels={Placed(name): one.labels[name] for name in one.labels})
                        for one in metric.samples
                    ]
                    yield metric

    encoder, _ = choose_encoder(accept)
    assert ours == encoder(Wanted())


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_type_of_metric_is_written_as_by_prometheus_client(accept):
    prometheus_client.disable_created_metrics()  # as `Counters` does
    registry = CollectorRegistry()
    Counter("calls", "With a \\ and a\nnew line.", ["code"], registry=registry).labels('a"b').inc()
    two = Counter("errors", "Labels not in order.", ["function", "code"], registry=registry)
    two.labels("nvmlInit", "UNKNOWN").inc()
    Counter("plain", "Without labels.", registry=registry).inc(2.5)
    Histogram("took_seconds", "Time.", buckets=(0.1, 1), registry=registry).observe(0.5)
    Gauge("up", 'It "is".', registry=registry).set(float("inf"))
    Info("build", "Version.", registry=registry).info({"version": "1"})
    metrics = [*registry.collect(), *ProcessCollector(registry=None).collect()]

    class Fixed:
        def collect(self):
            return metrics

    encoder, content_type = choose_encoder(accept)
    answer = Exposition(node_name="", self_metrics=(Fixed(),)).render(None, accept=accept)
    assert answer.body == encoder(Fixed())
    assert answer.content_type == content_type
