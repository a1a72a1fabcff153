# SPDX-License-Identifier: Apache-2.0
"""Pure: the JSON documents of the API's responses.

Source: `k8s.io/metrics/pkg/apis/custom_metrics`, `k8s.io/api/apidiscovery/v2`, `metav1.Status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scaler.kube.selectors import EVERYTHING
from scaler.metricsapi.names import GROUP, VERSIONS, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.kube.delegated_auth import AccessRequest
    from scaler.kube.selectors import Selector
    from scaler.metricsapi.names import Catalog, ServedKind
    from scaler.metricsapi.paths import ValueRequest

    JsonObject = dict[str, Any]

KINDS: Mapping[str, str] = {
    Resource.PODS: "Pod",
    Resource.NODES: "Node",
    Resource.NAMESPACES: "Namespace",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The value of an object; `window_seconds` is set if it is an average."""

    name: str
    value_milli: int
    sampled_unix_seconds: float
    window_seconds: int | None = None


def quantity(value_milli: int) -> str:
    """Return a Quantity: a whole number, or one of milli-units ("85500m")."""
    whole, rest = divmod(value_milli, 1000)
    return f"{value_milli}m" if rest else str(whole)


def value_list(
    asked: ValueRequest,
    items: Iterable[Item],
    metric_selector: Selector = EVERYTHING,
    kind: ServedKind | None = None,
) -> JsonObject:
    """Return a MetricValueList in the requested version; `kind` is that of workloads."""
    return {
        "kind": "MetricValueList",
        "apiVersion": f"{GROUP}/{asked.version}",
        "metadata": {},
        "items": [_item(asked, item, metric_selector, kind) for item in items],
    }


def _item(
    asked: ValueRequest, item: Item, metric_selector: Selector, kind: ServedKind | None
) -> JsonObject:
    described = {
        "kind": KINDS[asked.resource] if kind is None else kind.kind,
        "name": item.name,
        "apiVersion": "/v1" if kind is None else kind.api_version,
    }
    if kind is not None or asked.resource == Resource.PODS:
        described["namespace"] = asked.namespace
    sampled = datetime.fromtimestamp(item.sampled_unix_seconds, UTC)
    timestamp = sampled.strftime("%Y-%m-%dT%H:%M:%SZ")
    selector = metric_selector.document()
    window = item.window_seconds
    if asked.version == "v1beta1":
        return {
            "describedObject": described,
            "metricName": asked.metric,
            "timestamp": timestamp,
            **({} if window is None else {"window": window}),
            "value": quantity(item.value_milli),
            "selector": selector,
        }
    return {
        "describedObject": described,
        "metric": {"name": asked.metric, "selector": selector},
        "timestamp": timestamp,
        **({} if window is None else {"windowSeconds": window}),
        "value": quantity(item.value_milli),
    }


def groups() -> JsonObject:
    """Return the APIGroupList of `/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def group() -> JsonObject:
    """Return the APIGroup of `/apis/custom.metrics.k8s.io`."""
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group()


def _group() -> JsonObject:
    versions = [{"groupVersion": f"{GROUP}/{one}", "version": one} for one in VERSIONS]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


def resources(version: str, catalog: Catalog) -> JsonObject:
    """Return the APIResourceList of a version: every metric of every resource."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [
            {
                "name": f"{resource}/{name}",
                "singularName": "",
                "namespaced": _is_namespaced(resource),
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            for resource, names in _names(catalog).items()
            for name in names
        ],
    }


def _names(catalog: Catalog) -> Mapping[str, Sequence[str]]:
    """Return the names of the metrics of each resource."""
    plain: dict[str, Sequence[str]] = {
        resource: [name for name, one in catalog.metrics.items() if resource in one.resources]
        for resource in Resource
    }
    return plain | {kind: list(catalog.metrics) for kind in catalog.kinds}


def _is_namespaced(resource: str) -> bool:
    return resource not in (Resource.NODES, Resource.NAMESPACES)


def aggregated_discovery(api_version: str, catalog: Catalog) -> JsonObject:
    """Return the APIGroupDiscoveryList of `/apis`; `api_version` is `v2` or `v2beta1`."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{api_version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP, "creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Current",
                        "resources": [
                            _discovered(version, resource, names)
                            for resource, names in _names(catalog).items()
                        ],
                    }
                    for version in VERSIONS
                ],
            }
        ],
    }


def _discovered(version: str, resource: str, names: Iterable[str]) -> JsonObject:
    kind = {"group": GROUP, "version": version, "kind": "MetricValueList"}
    return {
        "resource": str(resource),
        # The resource itself is not served, but clients of v0.26 require a kind.
        "responseKind": {"group": "", "version": "", "kind": ""},
        "scope": "Namespaced" if _is_namespaced(resource) else "Cluster",
        "singularResource": "",
        "verbs": [],
        "subresources": [
            {"subresource": name, "responseKind": kind, "verbs": ["get"]} for name in names
        ],
    }


def status(code: int, reason: str, message: str) -> JsonObject:
    """Return a failure as metav1.Status."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def no_such_metric(resource: str, metric: str, name: str = "", selector: str = "") -> JsonObject:
    """Return the 404 for an unknown metric, or for an object without a value of it."""
    message = f"the server could not find the metric {metric} for {resource}"
    if name:
        message += f" {name}"
    if selector:
        message += f" with selector {selector}"
    return status(404, "NotFound", message)


def bad_request(message: str) -> JsonObject:
    """Return the 400 for an invalid request."""
    return status(400, "BadRequest", message)


def path_too_long(most: int) -> JsonObject:
    """Return the 414 for a path that is longer than any valid one."""
    message = f"the path is longer than {most} characters, the maximum"
    return status(414, "RequestURITooLong", message)


def forbidden(user: str, access: AccessRequest, reason: str = "") -> JsonObject:
    """Return the 403 with the message of an API server."""
    why = f": {reason}" if reason else ""
    if not access.resource:
        message = f'forbidden: User "{user}" cannot {access.verb} path "{access.path}"'
        return status(403, "Forbidden", message + why)
    resource = access.resource + (f"/{access.subresource}" if access.subresource else "")
    message = f'{resource}.{GROUP} "{access.name}" is forbidden: User "{user}" cannot {access.verb}'
    where = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
    message += f' resource "{resource}" in API group "{GROUP}" {where}'
    return status(403, "Forbidden", message + why)


NO_SUCH_PATH = status(404, "NotFound", "the server could not find the requested resource")
METHOD_NOT_ALLOWED = status(
    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
)
"""For all methods but GET."""
TOO_MANY_REQUESTS = status(
    429,
    "TooManyRequests",
    "the server has received too many requests and has asked us to try again later",
)
UNAUTHORIZED = status(401, "Unauthorized", "Unauthorized")
UNABLE_TO_FETCH = status(500, "InternalError", "Internal error occurred: unable to fetch metrics")
"""For a source that cannot be read; the log has the reason."""
UNABLE_TO_REVIEW = status(
    500, "InternalError", "Internal error occurred: unable to review the request"
)
"""For a failed review of the Kubernetes API."""
