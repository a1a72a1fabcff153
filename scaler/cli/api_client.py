"""Client of the acting scaler's API, for `status`, `why-not` and `explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from scaler.kube.client import KubeClient, connection_problem
from scaler.kube.leader_proxy import get_from_leader

TIMEOUT_SECONDS = 10.0


class ScalerClientError(RuntimeError):
    """The scaler did not answer with a JSON object; the message is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerClient:
    """Reads from the scaler at `server`, or from the Lease's holder through the Kubernetes API."""

    server: str | None
    kubeconfig: str | None
    context: str | None
    lease_namespace: str
    lease_name: str
    port: int

    async def get(self, path: str) -> dict[str, Any]:
        """Return the JSON document at `path`.

        Raises:
            ScalerClientError: the scaler did not answer, or not with a JSON object.
            ClusterError: the request through the Kubernetes API failed.
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
        msg = f"the scaler at {url} did not answer within {TIMEOUT_SECONDS:g} s"
        raise ScalerClientError(msg) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        msg = f"cannot query the scaler at {url}: {connection_problem(error)}"
        raise ScalerClientError(msg) from error
    if not isinstance(document, dict):
        msg = f"the response of {url} is not a JSON object"
        raise ScalerClientError(msg)
    return document
