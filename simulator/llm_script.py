# SPDX-License-Identifier: Apache-2.0
"""Pure: the demo's story of a model server, told with `--llm`.

One request keeps a GPU busy without a pause, so its duty cycle says nothing about the load; the
requests in the pods do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.demo_script import Chapter, Sight, Story, is_settled
from simulator.podstatus import GPU_MEMORY_ANNOTATION, STARTUP_ANNOTATION
from simulator.scenario import deployment, scaled

if TYPE_CHECKING:
    from typing import Any

NAME_SERVER: Final = "llama"
NAME_USERS: Final = "llama-users"
TARGET_REQUESTS: Final = 4
MAX_SERVERS: Final = 10
SLOTS: Final = 6
"""Requests that one pod runs at the same time; further ones wait."""
SLOTS_ANNOTATION: Final = "simulator/request-slots"
REQUESTS_ANNOTATION: Final = "simulator/requests"
"""The requests that a pod of users has always in flight."""
GPU_MEMORY_BYTES: Final = 71 << 30
"""vLLM takes 90 % of its GPU, here an H100, however many requests it has."""
FULL_PERCENT: Final = 100.0


def llm_story(port: int) -> Story:
    """Return the story; the pods serve their metrics on `port`."""
    return Story(
        serving=_server(port),
        press=_users(),
        target=TARGET_REQUESTS,
        introduction=(
            f"{NAME_SERVER}: a vLLM-shaped server with 1 GPU per pod, 1 replica,\n"
            f"target {TARGET_REQUESTS} requests per pod, at most {MAX_SERVERS} replicas"
        ),
        chapters=CHAPTERS,
        columns=f"{'REQUESTS':>8}  {'DUTY':>5}  {'REQ/TARGET':>10}",
        values=_values,
    )


def _server(port: int) -> dict[str, Any]:
    made = deployment(
        NAME_SERVER,
        replicas=1,
        annotations=scaled(MAX_SERVERS, "target-requests", TARGET_REQUESTS),
        pod_annotations={
            SLOTS_ANNOTATION: str(SLOTS),
            STARTUP_ANNOTATION: "2",
            GPU_MEMORY_ANNOTATION: str(GPU_MEMORY_BYTES),
        },
        limits={"nvidia.com/gpu": "1"},
    )
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["ports"] = [{"name": "http", "containerPort": port}]
    return made


def _users() -> dict[str, Any]:
    return deployment(
        NAME_USERS,
        replicas=0,
        annotations={},
        pod_annotations={REQUESTS_ANNOTATION: "1", STARTUP_ANNOTATION: "0.5"},
        limits={},
    )


def _values(sight: Sight) -> str:
    value = "?" if sight.value is None else f"{sight.value:.1f}"
    duty = f"{sight.busy_percent:.0f}%"
    return f"{sight.load:>8.0f}  {duty:>5}  {f'{value}/{TARGET_REQUESTS}':>10}"


def _at(sight: Sight, replicas: int) -> bool:
    return sight.wanted_replicas == replicas and is_settled(sight)


CHAPTERS: Final = (
    Chapter(
        title="One server, no requests",
        press_replicas=0,
        expectation="idle with 1 replica",
        reached=lambda sight: sight.value == 0 and _at(sight, 1),
    ),
    Chapter(
        title="One user sends one request: the GPU is busy all the time, the server is not",
        press_replicas=1,
        expectation="duty cycle 100, 1 request, and 1 replica is enough",
        reached=lambda sight: (
            sight.busy_percent == FULL_PERCENT and sight.value == 1 and _at(sight, 1)
        ),
        lasting_seconds=4,
    ),
    Chapter(
        title="14 users: running and waiting requests together need 4 pods",
        press_replicas=14,
        expectation=f"4 replicas with {TARGET_REQUESTS} requests or fewer each",
        reached=lambda sight: _at(sight, 4) and 3 < (sight.value or 0) <= TARGET_REQUESTS,
    ),
    Chapter(
        title="30 users",
        press_replicas=30,
        expectation=f"8 replicas with {TARGET_REQUESTS} requests or fewer each",
        reached=lambda sight: _at(sight, 8) and 3 < (sight.value or 0) <= TARGET_REQUESTS,
    ),
    Chapter(
        title="One user is left",
        press_replicas=1,
        expectation="back to 1 replica, although duty cycle is at 100",
        reached=lambda sight: (
            sight.busy_percent == FULL_PERCENT and sight.value == 1 and _at(sight, 1)
        ),
    ),
)
