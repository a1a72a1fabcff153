# SPDX-License-Identifier: Apache-2.0
"""An API behind the API server's aggregation layer, registered while a program serves it."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from scaler.kube.errors import NotFound
from tests.cluster.api_services import API_SERVICES, is_available
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

    JsonObject = dict[str, Any]

START_SECONDS: Final = 90.0
# An API that was not available is looked at again only every 30 s.
AVAILABLE_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatedApi:
    """A group of the API, its versions with their priorities, and the Service that leads to it."""

    group: str
    priorities: Mapping[str, int]
    service: Mapping[str, str]

    @property
    def host(self) -> str:
        """The name in the serving certificate, whatever address the API server dials."""
        return f"{self.service['name']}.{self.service['namespace']}.svc"


@asynccontextmanager
async def serving_api(
    plane: ControlPlane, client: KubeClient, api: AggregatedApi, *, program: str, port: int
) -> AsyncIterator[None]:
    """Register what a started program serves on a loopback port, and end the program.

    The body begins when the API server reaches it. At the end the API is taken away again: while it
    is registered and nobody answers, namespaces cannot be deleted.
    """
    try:
        await until(
            lambda: _is_ready(port),
            deadline_seconds=START_SECONDS,
            what=f"{program} is ready; its log is {plane.processes.log_file(program)}",
        )
        for version in api.priorities:
            await client.post(API_SERVICES, _api_service(api, version, port, plane))
        try:
            for version in api.priorities:
                await until(
                    lambda version=version: is_available(client, api.group, version),  # type: ignore[misc]
                    deadline_seconds=AVAILABLE_SECONDS,
                    what=f"{version}.{api.group} is available",
                )
            yield
        finally:
            for version in api.priorities:
                with suppress(NotFound):
                    await client.delete(f"{API_SERVICES}/{version}.{api.group}")
    finally:
        await asyncio.to_thread(plane.processes.stop, program)


async def _is_ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{port}/readyz", ssl=False) as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _api_service(api: AggregatedApi, version: str, port: int, plane: ControlPlane) -> JsonObject:
    return {
        "metadata": {"name": f"{version}.{api.group}"},
        "spec": {
            "group": api.group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": api.priorities[version],
            "caBundle": base64.b64encode(plane.files.ca.read_bytes()).decode(),
            "service": {**api.service, "port": port},
        },
    }
