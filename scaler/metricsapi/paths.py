# SPDX-License-Identifier: Apache-2.0
"""Pure: parses the path of a request to the request and its attributes for authorization.

Derives the attributes as an API server does, so that RoleBindings work as for other APIs. Source:
apiserver `pkg/endpoints/request/requestinfo.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from scaler.kube.delegated_auth import AccessRequest
from scaler.metricsapi.names import GROUP, VERSIONS, Resource

HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupListRequest:
    """`/apis`: the list of groups, which has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """`/apis/custom.metrics.k8s.io`: the versions of the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceListRequest:
    """`/apis/custom.metrics.k8s.io/{version}`: the names of the metrics."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRequest:
    """A metric of one object, or of all (`*`) that match a selector; `namespace` "" for nodes.

    `resource` is a `Resource`, or as in `deployments.apps` one that may not be served.
    """

    version: str
    resource: str
    namespace: str
    name: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPath:
    """A path that is not served."""


ApiRequest: TypeAlias = (
    GroupListRequest | GroupRequest | ResourceListRequest | ValueRequest | UnknownPath
)


def read_path(raw_path: str) -> tuple[ApiRequest, AccessRequest]:
    """Return the request of a path (percent-encoded, without a query), and what it accesses.

    `*` may be written `%2A`, as the HPA controller does.
    """
    parts = [unquote(part) for part in raw_path.strip("/").split("/")]
    path = "/" + "/".join(parts)
    if parts == ["apis"]:
        return GroupListRequest(), AccessRequest(path=path)
    if parts[:2] != ["apis", GROUP]:
        return UnknownPath(), AccessRequest(path=path)
    match parts[2:]:
        case []:
            return GroupRequest(), AccessRequest(path=path)
        case [version]:
            asked = ResourceListRequest(version=version) if version in VERSIONS else UnknownPath()
            return asked, AccessRequest(path=path)
        case [version, *rest]:
            return _read_resource(path, version, rest)
    raise AssertionError(parts)


def _read_resource(path: str, version: str, parts: list[str]) -> tuple[ApiRequest, AccessRequest]:
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2:
            parts = parts[2:]
    resource, name, subresource, *more = *parts, *[""] * (3 - len(parts))
    access = AccessRequest(
        path=path,
        group=GROUP,
        version=version,
        namespace=namespace,
        resource=resource,
        subresource=subresource,
        name=name,
    )
    return (
        UnknownPath() if any(more) else _values(version, namespace, resource, name, subresource)
    ), access


def _values(version: str, namespace: str, resource: str, name: str, subresource: str) -> ApiRequest:
    if version not in VERSIONS or not name:
        return UnknownPath()
    if namespace and resource == "metrics" and not subresource:
        # For a metric of a namespace itself, the metric takes the place of the name.
        return ValueRequest(
            version=version,
            resource=Resource.NAMESPACES,
            namespace=namespace,
            name=namespace,
            metric=name,
        )
    wanted = Resource.PODS if namespace else Resource.NODES
    is_workload = namespace and resource not in (*Resource, "metrics", "")
    if not subresource or not (resource == wanted or is_workload):
        return UnknownPath()
    return ValueRequest(
        version=version, resource=resource, namespace=namespace, name=name, metric=subresource
    )
