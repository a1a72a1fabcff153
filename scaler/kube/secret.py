# SPDX-License-Identifier: Apache-2.0
"""A Secret that several replicas share; writes carry the resourceVersion that was read."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.kube.client import KubeClient


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretData:
    """The data of a Secret at `resource_version`."""

    data: Mapping[str, bytes]
    resource_version: str


class SharedSecret:
    """The Secret `namespace`/`name`, which must exist."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"

    async def read(self) -> SecretData:
        """Return the data; raises NotFound, ApiError, or ValueError for invalid base64."""
        raw = await self._client.get(self._path)
        return SecretData(
            data={
                key: base64.b64decode(value, validate=True)
                for key, value in (raw.get("data") or {}).items()
            },
            resource_version=raw["metadata"]["resourceVersion"],
        )

    async def write(self, data: Mapping[str, bytes], resource_version: str) -> None:
        """Write these keys; raises Conflict if the Secret has changed since it was read."""
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        await self._client.patch(
            self._path,
            {"metadata": {"resourceVersion": resource_version}, "data": encoded},
        )
