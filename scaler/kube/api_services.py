# SPDX-License-Identifier: Apache-2.0
"""Creates and updates the APIServices of a group; never touches those of another Service.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaler.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.kube.client import JsonObject, KubeClient

log = logging.getLogger(__name__)

PATH = "/apis/apiregistration.k8s.io/v1/apiservices"
CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "gpu-scaler"


class OwnedByAnother(Exception):  # noqa: N818  (what is so, not what broke)
    """An APIService belongs to another Service; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The versions of the group with their priorities, and the Service that serves them.

    `owner_role` is the ClusterRole that owns the APIServices: they are deleted together.
    """

    group: str
    priorities: Mapping[str, int]
    service_namespace: str
    service_name: str
    service_port: int
    owner_role: str


class ApiServices:
    """Creates, updates and removes the APIServices of a group."""

    def __init__(self, client: KubeClient, registration: Registration) -> None:
        self._client = client
        self._registration = registration

    async def ensure(self, ca_bundle_pem: bytes | None) -> bool:
        """Register all versions with this CA bundle; return whether any APIService changed.

        Without a bundle the caBundle of an existing APIService stays unchanged.

        Raises:
            OwnedByAnother: a version belongs to another Service; nothing was changed.
            ApiError: the API server refused a request, or did not answer.
        """
        found = {version: await self._read(version) for version in self._registration.priorities}
        for version, raw in found.items():
            if raw is not None:
                self._refuse_another(version, raw)
        changed = False
        for version, raw in found.items():
            if raw is None:
                changed |= await self._create(version, ca_bundle_pem)
            elif ca_bundle_pem is not None:
                changed |= await self._update(version, raw, ca_bundle_pem)
        return changed

    async def remove(self) -> bool:
        """Delete the APIServices that gpu-scaler created for its Service; return whether any.

        Raises:
            ApiError: the API server refused a request, or did not answer.
        """
        removed = False
        for version in self._registration.priorities:
            raw = await self._read(version)
            if raw is None or not self._is_ours(raw) or _managed_by(raw) != MANAGED_BY:
                continue
            found = {key: raw["metadata"][key] for key in ("uid", "resourceVersion")}
            try:
                await self._client.delete(
                    f"{PATH}/{self._name(version)}", body={"preconditions": found}
                )
            except (NotFound, Conflict):
                # Another replica deleted it, or somebody changed it.
                continue
            removed = True
        return removed

    async def is_served(self) -> bool:
        """Return whether the Service has a ready endpoint; raises ApiError.

        A terminating pod is not ready; a restarting container may still count as ready.
        Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
        """
        namespace, name = self._registration.service_namespace, self._registration.service_name
        listed = await self._client.list_(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            params={"labelSelector": f"kubernetes.io/service-name={name}"},
        )
        return any(
            # By the API's definition an unset condition means ready.
            (endpoint.get("conditions") or {}).get("ready") is not False
            for one in listed["items"]
            for endpoint in one.get("endpoints") or ()
        )

    async def _read(self, version: str) -> JsonObject | None:
        try:
            return await self._client.get(f"{PATH}/{self._name(version)}")
        except NotFound:
            return None

    def _refuse_another(self, version: str, raw: JsonObject) -> None:
        service = raw["spec"].get("service")
        if service is None:
            raise OwnedByAnother(f"{self._name(version)} is served by the API server itself")
        if not self._is_ours(raw):
            managed = _managed_by(raw)
            raise OwnedByAnother(
                f"{self._name(version)} belongs to the Service"
                f" {service.get('namespace')}/{service.get('name')}"
                + (f", managed by {managed}" if managed else "")
            )

    def _is_ours(self, raw: JsonObject) -> bool:
        service, wanted = raw["spec"].get("service") or {}, self._registration
        found = service.get("namespace"), service.get("name")
        return found == (wanted.service_namespace, wanted.service_name)

    async def _create(self, version: str, ca_bundle_pem: bytes | None) -> bool:
        wanted = self._registration
        metadata: dict[str, Any] = {
            "name": self._name(version),
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
        }
        owner = await self._owner()
        if owner is not None:
            metadata["ownerReferences"] = [owner]
        body: dict[str, Any] = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": metadata,
            "spec": {
                "group": wanted.group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": wanted.priorities[version],
                "service": {
                    "namespace": wanted.service_namespace,
                    "name": wanted.service_name,
                    "port": wanted.service_port,
                },
            },
        }
        if ca_bundle_pem is not None:
            body["spec"]["caBundle"] = base64.b64encode(ca_bundle_pem).decode()
        try:
            await self._client.post(PATH, body)
        except AlreadyExists:
            # Another replica or somebody else created it; the next call checks it.
            return False
        return True

    async def _update(self, version: str, raw: JsonObject, ca_bundle_pem: bytes) -> bool:
        encoded = base64.b64encode(ca_bundle_pem).decode()
        if raw["spec"].get("caBundle") == encoded:
            return False
        await self._client.patch(
            f"{PATH}/{self._name(version)}",
            {
                "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
                "spec": {"caBundle": encoded, "insecureSkipTLSVerify": None},
            },
        )
        return True

    async def _owner(self) -> JsonObject | None:
        """Return the ClusterRole as owner, so that `kubectl delete -f` deletes the APIServices."""
        name = self._registration.owner_role
        try:
            role = await self._client.get(f"{CLUSTER_ROLES}/{name}")
        except (NotFound, Forbidden) as error:
            log.warning(
                "APIServices have no owner; delete them manually after uninstalling",
                extra={"cluster_role": name, "error": str(error)},
            )
            return None
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "name": name,
            "uid": role["metadata"]["uid"],
        }

    def _name(self, version: str) -> str:
        return f"{version}.{self._registration.group}"


def _managed_by(raw: JsonObject) -> str | None:
    labels = raw["metadata"].get("labels") or {}
    found: str | None = labels.get(MANAGED_BY_LABEL)
    return found
