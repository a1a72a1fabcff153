# SPDX-License-Identifier: Apache-2.0
"""A Prometheus over real HTTP that answers what a test wants, and the source that asks it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import MultiDict

from scaler.model import Metric, MetricReading, ObjectRef, PodPhase, PodState
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000.0
WEB = ObjectRef(namespace="default", name="web")
UUIDS = ("GPU-a", "GPU-b")


def pod(name: str) -> PodState:
    return PodState(
        ref=ObjectRef(namespace="default", name=name),
        uid=name,
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name="node-1",
    )


WEB_0 = pod("web-0").ref


def asks(
    *metrics: Metric, name: str = "web", query: str | None = None, window: float = 0
) -> ReadingRequest:
    """What the Deployment asks for that has the pod NAME-0."""
    return ReadingRequest(
        deployment=ObjectRef(namespace="default", name=name),
        metrics=metrics or (Metric.DUTY_CYCLE if query is None else Metric.QUERY,),
        pods=(pod(f"{name}-0"),),
        window_seconds=window,
        query=query,
    )


def vector(*rows: tuple[dict[str, str], str], **more: Any) -> web.Response:
    result = [{"metric": labels, "value": [NOW, text]} for labels, text in rows]
    data = {"resultType": "vector", "result": result}
    return web.json_response({"status": "success", "data": data, **more})


def gpus(value: str = "40", *, age: float = 5, name: str = "web-0", **more: Any) -> web.Response:
    """The answer to a query of ours: two GPUs of one pod, the second one's sample older by 1 s."""
    labels = {"namespace_name": "default", "pod_name": name}
    return vector(
        *(
            (labels | {"uuid": uuid, PART: part}, text)
            for n, uuid in enumerate(UUIDS)
            for part, text in (("value", value), ("time", str(NOW - age - n)))
        ),
        **more,
    )


class Prometheus:
    """Answers by a function of the query, and keeps what it was asked."""

    def __init__(self, answer: Callable[[str], web.StreamResponse]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, MultiDict[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.path = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = MultiDict(request.query)
        form.extend((key, str(value)) for key, value in (await request.post()).items())
        self.asked.append((request.method, form))
        self.headers.append(dict(request.headers))
        self.path = request.path
        return self.answer(form["query"])

    def queries(self) -> list[str]:
        return [form["query"] for _, form in self.asked]


@asynccontextmanager
async def source(prometheus: Prometheus, **changes: Any):
    async with serving(prometheus.handle) as url:
        settings = replace(PrometheusSettings(url=url), **changes)
        async with PrometheusSource(settings) as opened:
            yield opened


async def read(
    opened: PrometheusSource, *requests: ReadingRequest
) -> dict[ObjectRef, dict[Metric, MetricReading]]:
    answer = await opened.read(requests, {})
    return {ref: dict(found) for ref, found in answer.readings.items()}


async def duty(prometheus: Prometheus, **changes: Any) -> MetricReading:
    async with source(prometheus, **changes) as opened:
        return (await read(opened, asks()))[WEB][Metric.DUTY_CYCLE]
