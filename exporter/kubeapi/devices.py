# SPDX-License-Identifier: Apache-2.0
"""Which GPU a device of a ResourceSlice is: the UUID that the kubelet does not report under DRA.

The kubelet lists a claim's devices as (driver, pool, device). The NVIDIA DRA driver publishes their
UUIDs as an attribute in the ResourceSlices of its node.
https://kubernetes.io/docs/reference/kubernetes-api/resource/resource-slice-v1/
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from exporter.kubeapi.client import KubeApiError
from exporter.model import DRA_DRIVER, claimed_device_id
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.kubeapi.client import ApiClient

log = logging.getLogger(__name__)

# The newest first; which of them is served depends on the cluster's version (1.32 to 1.34 and on).
VERSIONS: Final = ("v1", "v1beta2", "v1beta1")
LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 10.0
"""How soon a device that was not found is looked for again."""
RENEW_SECONDS: Final = 600.0


class ClaimedDevices:
    """Keeps the UUIDs of the node's devices; lists the slices when a device is not known.

    `unmatched` returns the device IDs without a GPU; `publish` gets each new mapping from device ID
    to UUID; `on_error` is called for each failed request.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        node_name: str,
        unmatched: Callable[[], Collection[str]],
        publish: Callable[[Mapping[str, str]], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._unmatched = unmatched
        self._publish = publish
        self._on_error = on_error
        self._outage = OutageLog(
            log,
            "Cannot list ResourceSlices; newly claimed GPUs have no pod labels",
            "ResourceSlices can be listed again",
        )
        self._listed = False
        # The one that was served last comes first.
        self._versions: tuple[str, ...] = VERSIONS

    async def run(self) -> None:
        """Look until cancelled."""
        listed = float("-inf")
        while True:
            age = time.monotonic() - listed
            missing = any(one.startswith(f"{DRA_DRIVER}/") for one in self._unmatched())
            if (missing and age >= AGAIN_SECONDS) or age >= RENEW_SECONDS:
                await self.refresh()
                listed = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self) -> None:
        """List once; an error leaves what is known."""
        try:
            uuids = device_uuids(await self._list())
            self._publish(uuids)
        except Exception as error:  # noqa: BLE001  (it is logged)
            # Beside ApiError whatever an answer brings about: the loop must outlive it.
            self._failed(error)
            return
        self._outage.worked()
        if not self._listed:
            log.info("Listed ResourceSlices", extra={"devices": len(uuids)})
        self._listed = True

    def _failed(self, error: Exception) -> None:
        caught = None if isinstance(error, KubeApiError) else error
        self._outage.failed(error, caught=caught, retry_seconds=AGAIN_SECONDS)
        self._on_error("resourceslices")

    async def _list(self) -> Any:
        *others, last = self._versions
        for version in others:
            try:
                return await self._list_by(version)
            except KubeApiError as error:
                if error.status != 404:
                    raise
        return await self._list_by(last)

    async def _list_by(self, version: str) -> Any:
        slices = await self._client.get(
            f"/apis/resource.k8s.io/{version}/resourceslices",
            fieldSelector=f"spec.driver={DRA_DRIVER},spec.nodeName={self._node_name}",
        )
        self._versions = (version, *(one for one in VERSIONS if one != version))
        return slices


def device_uuids(slices: Any) -> dict[str, str]:
    """Return {device ID: UUID} of a ResourceSliceList; whatever is not as expected is left out.

    Of a pool only the slices of its highest generation count.
    """
    specs = [
        spec
        for item in _list_of(slices, "items")
        if isinstance(spec := item.get("spec"), dict) and spec.get("driver") == DRA_DRIVER
    ]
    newest: dict[str, int] = {}
    for spec in specs:
        name, generation = _pool(spec)
        newest[name] = max(newest.get(name, 0), generation)
    return {
        claimed_device_id(_pool(spec)[0], str(device.get("name"))): uuid
        for spec in specs
        if _pool(spec)[1] == newest[_pool(spec)[0]]
        for device in _list_of(spec, "devices")
        if (uuid := _uuid(device))
    }


def _pool(spec: dict[str, Any]) -> tuple[str, int]:
    pool = spec.get("pool")
    if not isinstance(pool, dict):
        return "", 0
    generation = pool.get("generation")
    return str(pool.get("name", "")), generation if isinstance(generation, int) else 0


def _uuid(device: dict[str, Any]) -> str | None:
    # v1beta1 has the attributes one level deeper.
    basic = device.get("basic")
    attributes = (basic if isinstance(basic, dict) else device).get("attributes")
    if not isinstance(attributes, dict):
        return None
    value = attributes.get("uuid", attributes.get(f"{DRA_DRIVER}/uuid"))
    text = value.get("string") if isinstance(value, dict) else None
    return text if isinstance(text, str) else None


def _list_of(parent: Any, key: str) -> list[dict[str, Any]]:
    children = parent.get(key) if isinstance(parent, dict) else None
    return [one for one in children if isinstance(one, dict)] if isinstance(children, list) else []
