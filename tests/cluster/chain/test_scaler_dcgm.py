# SPDX-License-Identifier: Apache-2.0
"""The scaler where Prometheus scrapes dcgm-exporter: its names, labels and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
from aiohttp import web

from scaler.model import Metric, ObjectRef, PodPhase, PodState, PodValue
from scaler.readings import devices
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.cluster.chain.prometheus import running_prometheus
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.model import MetricReading
    from tests.cluster.chain.running import Chain

pytestmark = pytest.mark.asyncio(loop_scope="package")

NAMESPACE: Final = "ml"
SCRAPED_SECONDS: Final = 90.0
OLD_PATH: Final = "/old"
JOBS: Final[dict[str, dict[str, Any]]] = {
    "dcgm": {"honor_labels": True},
    "dcgm-exported": {"honor_labels": False},
    "old": {"honor_labels": True, "metrics_path": OLD_PATH},
}
METRICS: Final = tuple(devices.FAMILIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What dcgm-exporter shows of a GPU or MIG instance, in its units."""

    uuid: str
    pod: str
    instance: str = ""
    util: float
    used: int
    free: int
    reserved: int
    watts: float
    celsius: int


GPUS: Final = (
    Gpu(
        uuid="a", pod="web-0", util=30, used=20480, free=60480, reserved=599, watts=71.353,
        celsius=40,
    ),
    Gpu(
        uuid="b", pod="web-0", util=61, used=40960, free=40000, reserved=599, watts=100, celsius=61
    ),
    # Two instances of one GPU, which have its UUID.
    Gpu(
        uuid="c", pod="mig-0", instance="7", util=20, used=1000, free=9000, reserved=0, watts=90.5,
        celsius=50,
    ),
    Gpu(
        uuid="c", pod="mig-0", instance="8", util=80, used=3000, free=7000, reserved=0, watts=90.5,
        celsius=50,
    ),
    Gpu(uuid="d", pod="", util=99, used=1, free=1, reserved=1, watts=700, celsius=90),
)  # fmt: skip

EXPECTED: Final = {
    "web-0": {
        Metric.DUTY_CYCLE: 45_500,
        # 20480 of 81559 and 40960 of 81559 MiB.
        Metric.MEMORY_USED_PERCENT: 37_666,
        Metric.MEMORY_USED_BYTES: 30_720 * 2**20 * 1000,
        Metric.POWER_USAGE_MILLIWATTS: 85_676_500,
        Metric.TEMPERATURE_CELSIUS: 61_000,
    },
    "mig-0": {
        Metric.DUTY_CYCLE: 50_000,
        Metric.MEMORY_USED_PERCENT: 20_000,
        Metric.MEMORY_USED_BYTES: 2000 * 2**20 * 1000,
        Metric.POWER_USAGE_MILLIWATTS: 90_500_000,
        Metric.TEMPERATURE_CELSIUS: 50_000,
    },
}


def exposition(*, reserved: bool) -> str:
    """What dcgm-exporter answers; older versions show nothing reserved."""
    families = {
        "DCGM_FI_DEV_GPU_UTIL": "util",
        "DCGM_FI_DEV_FB_USED": "used",
        "DCGM_FI_DEV_FB_FREE": "free",
        "DCGM_FI_DEV_POWER_USAGE": "watts",
        "DCGM_FI_DEV_GPU_TEMP": "celsius",
    } | ({"DCGM_FI_DEV_FB_RESERVED": "reserved"} if reserved else {})
    lines = []
    for family, field in families.items():
        lines += [f"# HELP {family} Of DCGM.", f"# TYPE {family} gauge"]
        for number, gpu in enumerate(GPUS):
            labels = {
                "gpu": str(number),
                "UUID": f"GPU-{gpu.uuid}",
                "device": f"nvidia{number}",
                "modelName": "NVIDIA H100 80GB HBM3",
                "hostname": "gpu-node-1",
                "container": "main" if gpu.pod else "",
                "namespace": NAMESPACE if gpu.pod else "",
                "pod": gpu.pod,
            }
            if gpu.instance:
                labels |= {"GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": gpu.instance}
            text = ",".join(f'{name}="{value}"' for name, value in labels.items())
            lines.append(f"{family}{{{text}}} {getattr(gpu, field)}")
    return "\n".join(lines) + "\n"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def prometheus(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a Prometheus that scrapes dcgm-exporter's pod in the ways of `JOBS`."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=exposition(reserved=request.path != OLD_PATH))

    async with serving(answer) as exporter:
        target = exporter.removeprefix("http://")
        # As the discovery of pods would label it.
        own = {"namespace": "gpu-operator", "pod": "dcgm-exporter-x7k2p"}
        static = {"static_configs": [{"targets": [target], "labels": own}]}
        jobs = [{"job_name": name} | static | job for name, job in JOBS.items()]
        folder = tmp_path_factory.mktemp("prometheus-dcgm")
        async with running_prometheus(
            chain.plane, folder, jobs=jobs, scrape_interval="1s"
        ) as running:
            yield running.url


def settings(url: str, preset: str, job: str) -> PrometheusSettings:
    return PrometheusSettings(url=url, names=PRESETS[preset], matchers=(f'job="{job}"',))


async def readings(url: str, preset: str, job: str) -> dict[str, dict[Metric, MetricReading]]:
    """The readings of both pods once they have been scraped, by the pod's name."""
    asked = [
        ReadingRequest(
            deployment=ObjectRef(namespace=NAMESPACE, name=name),
            metrics=METRICS,
            pods=(_pod(name),),
            window_seconds=0,
        )
        for name in EXPECTED
    ]
    found: dict[str, dict[Metric, MetricReading]] = {}
    async with PrometheusSource(settings(url, preset, job)) as source:

        async def are_scraped() -> bool:
            answer = await source.read(asked, {})
            found.update({ref.name: dict(one) for ref, one in answer.readings.items()})
            return not any(one.missing for each in found.values() for one in each.values())

        await until(are_scraped, deadline_seconds=SCRAPED_SECONDS, what=f"values of {preset}")
    return found


def values(found: dict[str, dict[Metric, MetricReading]]) -> dict[str, dict[Metric, PodValue]]:
    return {
        name: {metric: reading.values[_pod(name).ref] for metric, reading in each.items()}
        for name, each in found.items()
    }


@pytest.mark.parametrize("preset", ["dcgm", "dcgm-exported"])
async def test_values_of_dcgm_exporter_in_our_units(prometheus, preset):
    found = values(await readings(prometheus, preset, preset))
    assert {
        name: {metric: value.value_milli for metric, value in each.items()}
        for name, each in found.items()
    } == EXPECTED
    assert {value.device_count for each in found.values() for value in each.values()} == {2}


async def test_the_wrong_preset_has_no_values_and_says_which_labels_it_looked_for(prometheus):
    await readings(prometheus, "dcgm-exported", "dcgm-exported")
    request = ReadingRequest(
        deployment=ObjectRef(namespace=NAMESPACE, name="web"),
        metrics=(Metric.DUTY_CYCLE,),
        pods=(_pod("web-0"),),
        window_seconds=0,
    )
    async with PrometheusSource(settings(prometheus, "dcgm", "dcgm-exported")) as source:
        answer = await source.read([request], {})
    reading = answer.readings[request.deployment][Metric.DUTY_CYCLE]
    assert (reading.values, reading.problem) == ({}, None)
    assert reading.missing == {
        _pod("web-0").ref: "Prometheus has no DCGM_FI_DEV_GPU_UTIL whose labels namespace and pod"
        " name this pod"
    }


async def test_versions_that_show_nothing_reserved_count_it_as_used(prometheus):
    found = values(await readings(prometheus, "dcgm", "old"))
    # 20480 of 80960 and 40960 of 80960 MiB.
    assert found["web-0"][Metric.MEMORY_USED_PERCENT].value_milli == 37_945


def _pod(name: str) -> PodState:
    return PodState(
        ref=ObjectRef(namespace=NAMESPACE, name=name),
        uid=name,
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name="gpu-node-1",
    )
