# SPDX-License-Identifier: Apache-2.0
"""A Deployment of model servers on some Kubernetes API, opted in by its requests alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.running import run_program
from tests.scaled import DEPLOYMENTS
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient
    from tests.running import ScalerProcess
    from tests.servers.pods import ServerPods

NAME: Final = "llm"
PATH: Final = f"{DEPLOYMENTS}/{NAME}"
TARGET: Final = 2
STORY_SECONDS: Final = 240.0
"""A deadline for what waits for real servers to start and to answer while others compute."""
# Clients ask again when an answer ends: a window takes no moment between for less load.
BEHAVIOR: Final = {"scaleDown": {"stabilizationWindowSeconds": 5}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The Deployment, and the servers that run for its pods."""

    client: KubeClient
    pods: ServerPods

    def urls(self) -> list[str]:
        """Return where its servers answer now."""
        return [server.url for server in self.pods.servers.values()]

    async def add(self, port: int, replicas: int = 1, /, **annotations: str) -> None:
        """Create the Deployment; its pods' servers listen on `port`."""
        await self.client.post(DEPLOYMENTS, deployment(port, replicas, **annotations))

    async def becomes(self, count: int) -> None:
        """Wait until so many replicas are wanted and as many servers run."""

        async def is_so() -> bool:
            wanted = (await self.client.get(PATH))["spec"]["replicas"]
            return bool(wanted == len(self.pods.servers) == count)

        await until(is_so, deadline_seconds=STORY_SECONDS, what=f"{count} replicas")


def deployment(port: int, replicas: int = 1, /, **annotations: str) -> dict[str, Any]:
    """Return the Deployment; pods count at once when they are Ready."""
    named = {
        "enabled": "true",
        "max_replicas": "6",
        "target_requests": str(TARGET),
        "ready_age": "0s",
        "behavior": json.dumps(BEHAVIOR),
    } | annotations
    container = {
        "name": "main",
        "image": "example.com/llm:1",
        "ports": [{"containerPort": port, "name": "http"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "annotations": {
                f"gpu-scaler/{name.replace('_', '-')}": value for name, value in named.items()
            },
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"containers": [container]},
            },
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsAccount:
    """What the scaler says about the requests: values and reasons by pod."""

    outcome: str
    values: dict[str, float]
    left_out: dict[str, str]


async def requests_account(scaler: ScalerProcess) -> RequestsAccount:
    """Return the last decision's account of the metric `requests`."""
    decision = await scaler.decision("default", NAME)
    (requests,) = [
        metric for metric in decision.get("metrics", ()) if metric["metric"] == "requests"
    ] or [{"pods": (), "left_out": ()}]
    return RequestsAccount(
        outcome=decision.get("outcome", ""),
        values={_name(one["pod"]): one["value_milli"] / 1000 for one in requests["pods"]},
        left_out={_name(one["pod"]): one["reason"] for one in requests["left_out"]},
    )


def _name(pod: str) -> str:
    return pod.rpartition("/")[2]


async def explained(scaler: ScalerProcess) -> str:
    """Return what `gpu-scaler explain` prints about the Deployment."""
    _, text, _ = await run_program("explain", f"default/{NAME}", f"--server={scaler.url}")
    return text


SLEEPS: Final = {
    "min_replicas": "0",
    "cooldown": "0s",
    "queue": (
        "http://gateway:http/metrics"
        ' gateway_requests_waiting{model="tiny"} + gateway_requests_running'
    ),
}
"""Annotations for a Deployment behind `tests.servers.gateway`, which the Service gateway names."""


async def answers_from_zero(served: Served, gateway: str) -> None:
    """Send the gateway requests while no pod lives, and see each answered and the pods go again."""
    await served.becomes(0)
    # A request waits for a pod to be created, started and found.
    timeout = aiohttp.ClientTimeout(total=STORY_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(2):
            short = {"prompt": "hello", "max_tokens": 5}
            async with session.post(f"{gateway}/v1/completions", json=short) as answer:
                assert answer.status == 200, await answer.text()
            await served.becomes(0)
