# SPDX-License-Identifier: Apache-2.0
"""The documents by which kubectl finds out what this server can do. Pure."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from simulator.kubernetes_version import KUBERNETES_VERSION, MAJOR, MINOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.apiserver.resources import Resource

    Document = dict[str, Any]

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
THIS_SERVER: Final = "the small Kubernetes API of gpu-scaler's simulator"
VERSION: Document = {
    "major": f"{MAJOR}",
    "minor": f"{MINOR}",
    "gitVersion": KUBERNETES_VERSION,
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def document(path: str, resources: Sequence[Resource]) -> Document | None:
    """Return the discovery document at `path`, None where there is none."""
    parts = path.strip("/").split("/")
    match parts:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(resources)}
        case ["apis", group]:
            found = [entry for entry in _groups(resources) if entry["name"] == group]
            return {"kind": "APIGroup", "apiVersion": "v1", **found[0]} if found else None
        case ["api", version]:
            return _resource_list("", version, resources)
        case ["apis", group, version]:
            return _resource_list(group, version, resources)
        case ["openapi", "v3"]:
            return {
                "paths": {
                    prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}"}
                    for prefix in dict.fromkeys(_prefix(resource) for resource in resources)
                }
            }
        case ["openapi", "v3", *rest]:
            return _open_api("/".join(rest), resources)
    return None


def _prefix(resource: Resource) -> str:
    return f"{'apis' if resource.group else 'api'}/{resource.api_version}"


def _groups(resources: Sequence[Resource]) -> list[Document]:
    named = [resource for resource in resources if resource.group]
    group = attrgetter("group")
    groups = []
    for name, members in groupby(sorted(named, key=group), key=group):
        versions = [
            {"groupVersion": f"{name}/{version}", "version": version}
            for version in dict.fromkeys(member.version for member in members)
        ]
        groups.append({"name": name, "versions": versions, "preferredVersion": versions[0]})
    return groups


def _resource_list(group: str, version: str, resources: Sequence[Resource]) -> Document | None:
    members = [r for r in resources if (r.group, r.version) == (group, version)]
    if not members:
        return None
    entries: list[Document] = []
    for resource in members:
        entries.append(
            {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": _VERBS,
                **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
                **({"categories": list(resource.categories)} if resource.categories else {}),
            }
        )
        entries.extend(_subresource(resource, name) for name in sorted(resource.subresources))
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": members[0].api_version,
        "resources": entries,
    }


def _subresource(resource: Resource, name: str) -> Document:
    entry: Document = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    }
    if name == "scale":
        entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    if name == "binding":
        entry |= {"kind": "Binding", "verbs": ["create"]}
    return entry


def _open_api(prefix: str, resources: Sequence[Resource]) -> Document | None:
    """Return what `kubectl apply` looks for: that PATCH takes `fieldValidation`.

    The schemas have no fields: `kubectl explain` says so, and `kubectl apply` merges by what it
    knows itself.
    """
    members = [resource for resource in resources if _prefix(resource) == prefix]
    if not members:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": THIS_SERVER, "version": VERSION["gitVersion"]},
        "components": {"schemas": {one.kind: _schema(one) for one in members}},
        "paths": {
            f"/{prefix}/{resource.plural}/{{name}}": {
                "patch": {
                    "parameters": [
                        {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
                    ],
                    "responses": {"200": {"description": "OK"}},
                    "x-kubernetes-group-version-kind": _kind(resource),
                }
            }
            for resource in members
        },
    }


def _schema(resource: Resource) -> Document:
    return {
        "type": "object",
        "description": f"{resource.kind} of {THIS_SERVER}, which describes no fields: they are"
        " those of https://kubernetes.io/docs/reference/kubernetes-api/",
        "x-kubernetes-group-version-kind": [_kind(resource)],
    }


def _kind(resource: Resource) -> Document:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}
