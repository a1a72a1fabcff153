# SPDX-License-Identifier: Apache-2.0
"""The scheduler of the simulated nodes: carries out what `simulator.scheduling` plans."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from simulator import podstatus
from simulator.podrunner import timestamp
from simulator.retrying_client import STRATEGIC_MERGE_PATCH, persist
from simulator.scheduling import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.kube.client import KubeClient

    JsonObject = dict[str, Any]


# Changes come in bursts, and one plan does for all of a burst.
SETTLE_SECONDS: Final = 0.02


class Scheduler:
    """Binds pending pods whenever something has changed."""

    def __init__(
        self,
        client: KubeClient,
        *,
        nodes: Callable[[], list[JsonObject]],
        pods: Callable[[], dict[str, JsonObject]],
    ) -> None:
        """`nodes` and `pods` return what was last seen; pods by uid."""
        self._client = client
        self._nodes = nodes
        self._pods = pods
        self._assumed: dict[str, str] = {}
        self._reported: dict[str, str] = {}
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Say that pods or nodes have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Plan and act until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._changed.clear()
            pods = self._pods()
            self._assumed = {
                uid: node
                for uid, node in self._assumed.items()
                if uid in pods and not pods[uid]["spec"].get("nodeName")
            }
            decided = plan(self._nodes(), pods.values(), self._assumed)
            async with asyncio.TaskGroup() as tasks:
                for uid, node in decided.bindings.items():
                    tasks.create_task(self._bind(pods[uid], node))
                for uid, message in decided.unschedulable.items():
                    if self._reported.get(uid) != message:
                        tasks.create_task(self._report(pods[uid], message))
            self._reported = decided.unschedulable

    async def _bind(self, pod: JsonObject, node: str) -> None:
        metadata = pod["metadata"]
        self._assumed[metadata["uid"]] = node
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        if await persist(self._client.post, path, body) is None:
            # Gone, or bound by another scheduler; if it is still pending its next change tells.
            del self._assumed[metadata["uid"]]

    async def _report(self, pod: JsonObject, message: str) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        body = {
            "metadata": {"uid": metadata["uid"]},
            "status": podstatus.unschedulable(message, timestamp()),
        }
        await persist(self._client.patch, path, body, content_type=STRATEGIC_MERGE_PATCH)
