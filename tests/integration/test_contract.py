# SPDX-License-Identifier: Apache-2.0
"""The contract between the two programs: what the exporter writes is what the scaler reads."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge

from exporter.attribution.attribute import Holdings, attribute, remember
from exporter.exposition.pages import Exposition
from exporter.exposition.table import FAMILIES as PUBLISHED
from exporter.model import Allocation, Collector, Container, Device, DeviceReading, Readings
from scaler.metricsapi.names import FAMILIES
from scaler.model import Metric, ObjectRef, PodValue
from scaler.readings import devices
from scaler.readings.exposition import (
    INTERVAL,
    SNAPSHOT_AGE,
    asked_names,
    families_for,
    read_page,
    values_by_pod,
)

POD = ObjectRef(namespace="default", name="web-0")
GPU_METRICS = tuple(devices.FAMILIES)


def exposition() -> Exposition:
    own = CollectorRegistry()
    Gauge(SNAPSHOT_AGE, "age", registry=own).set(0.5)
    Gauge(INTERVAL, "interval", registry=own).set(2)
    return Exposition(node_name="node-1", self_metrics=(own,))


def snapshot():
    def reading(index: int, duty: float) -> DeviceReading:
        return DeviceReading(
            device=Device(uuid=f"GPU-{index}", name="NVIDIA H100", minor_number=index),
            duty_cycle_percent=duty,
            memory_total_bytes=80 * 2**30,
            memory_used_bytes=20 * 2**30,
            power_usage_milliwatts=350_500,
            temperature_celsius=60 + index,
        )

    readings = Readings(
        taken_at_seconds=0.0,
        device_count=3,
        unreadable_count=0,
        devices=(reading(0, 90.5), reading(1, 30.5), reading(2, 99)),
    )
    web = Container(namespace_name="default", pod_name="web-0", container_name="main")
    held = [
        Allocation(container=web, resource_name="nvidia.com/gpu", device_id=f"GPU-{index}")
        for index in (0, 1)
    ]
    return attribute(readings, remember(Holdings(), held))


@pytest.mark.parametrize(
    ("metric", "value_milli"),
    [
        (Metric.DUTY_CYCLE, 60_500),
        (Metric.MEMORY_USED_PERCENT, 25_000),
        (Metric.MEMORY_USED_BYTES, 20 * 2**30 * 1000),
        (Metric.POWER_USAGE_MILLIWATTS, 350_500_000),
        (Metric.TEMPERATURE_CELSIUS, 61_000),
    ],
)
def test_the_scaler_reads_what_the_exporter_writes(metric, value_milli):
    answer = exposition().render(snapshot(), names=asked_names(families_for([metric])))
    readings = read_page(answer.body.decode())
    found = values_by_pod(readings, [metric])[metric]
    assert {
        pod: (one.value_milli, one.device_count)
        for pod, one in found.items()
        if isinstance(one, PodValue)
    } == {POD: (value_milli, 2)}
    assert (readings.age_seconds, readings.interval_seconds) == (0.5, 2.0)


def test_the_filter_leaves_nothing_out_that_is_read():
    names = asked_names(families_for(GPU_METRICS))
    whole, asked = (
        values_by_pod(read_page(answer.body.decode()), GPU_METRICS)
        for answer in (
            exposition().render(snapshot()),
            exposition().render(snapshot(), names=names),
        )
    )
    assert whole == asked


@pytest.mark.parametrize("family", FAMILIES)
def test_the_metrics_api_goes_by_the_exporters_names(family):
    published = {one.name: one.collector for one in PUBLISHED}
    assert family in published
    if "container" in family:
        assert published[family] is Collector.CONTAINERS
