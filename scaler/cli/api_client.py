"""What `status` and `explain` ask of the scaler that acts: its last decisions, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from scaler.kube.client import KubeClient, connection_problem
from scaler.kube.leader_proxy import get_from_leader

TIMEOUT_SECONDS = 10.0


class RemoteError(RuntimeError):
    """The scaler did not answer, or answered that it cannot; the message is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where the scaler is: at `server`, or behind the Kubernetes API under its Lease."""

    server: str | None
    kubeconfig: str | None
    context: str | None
    lease_namespace: str
    lease_name: str
    port: int

    async def get(self, path: str) -> dict[str, Any]:
        """Return the JSON document at `path`.

        Raises:
            RemoteError: nothing answered, or not with JSON.
            ClusterError: the way through the Kubernetes API failed.
        """
        if self.server is not None:
            return await _get(self.server.rstrip("/") + path)
        async with await KubeClient.load(self.kubeconfig, self.context) as client:
            return await get_from_leader(
                client,
                path,
                lease_namespace=self.lease_namespace,
                lease_name=self.lease_name,
                port=self.port,
            )


async def _get(url: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            document = orjson.loads(await response.read())
    except TimeoutError as error:
        msg = f"the scaler at {url} gave no answer within {TIMEOUT_SECONDS:g} s"
        raise RemoteError(msg) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        msg = f"the scaler at {url} could not be asked: {connection_problem(error)}"
        raise RemoteError(msg) from error
    if not isinstance(document, dict):
        msg = f"the scaler at {url} answered something else than an object"
        raise RemoteError(msg)
    return document
