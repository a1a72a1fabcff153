# SPDX-License-Identifier: Apache-2.0
"""What a request to the simulated API asks for: path, parameters and body."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from simulator.apiserver import patches
from simulator.apiserver.discovery import THIS_SERVER
from simulator.apiserver.status import StatusError, bad_request, expired

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp import web

    from simulator.apiserver.resources import Resource

    Object = dict[str, Any]

PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": patches.merge_patch,
    "application/strategic-merge-patch+json": patches.strategic_merge_patch,
    "application/apply-patch+yaml": patches.strategic_merge_patch,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path names: a collection (`name` empty), an object, or a subresource of it."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


def target_of(path: str, resources: Collection[Resource]) -> Target:
    """Return what a path names; raises StatusError for paths of other resources."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            rest, group, version = [], "", ""
    namespace = ""
    if (
        len(rest) >= 3
        and rest[0] == "namespaces"
        and not (group == "" and rest[2] in ("status", "finalize"))
    ):
        namespace, rest = rest[1], rest[2:]
    if 1 <= len(rest) <= 3:
        for resource in resources:
            if (resource.group, resource.version, resource.plural) == (group, version, rest[0]):
                name = rest[1] if len(rest) > 1 else ""
                subresource = rest[2] if len(rest) > 2 else ""
                if subresource and subresource not in resource.subresources:
                    break
                return Target(
                    resource=resource, namespace=namespace, name=name, subresource=subresource
                )
    known = ", ".join(sorted({one.plural for one in resources}))
    raise StatusError(
        404,
        "NotFound",
        f"the server could not find the requested resource: {THIS_SERVER} has only {known}",
    )


async def body_of(request: web.Request) -> Any:
    """Return the object in the body, empty without one; raises StatusError."""
    raw = await request.read()
    if not raw:
        return {}
    if "protobuf" in request.content_type:
        # kubectl create with a generator, such as `create deployment NAME`, sends it.
        raise StatusError(
            415,
            "UnsupportedMediaType",
            f"{THIS_SERVER} takes JSON and YAML, not protobuf: add --dry-run=client -o yaml to the"
            " kubectl command, and pipe it to kubectl apply -f -",
        )
    try:
        body = yaml.safe_load(raw) if "yaml" in request.content_type else orjson.loads(raw)
    except (orjson.JSONDecodeError, yaml.YAMLError) as error:
        raise bad_request(f"the body cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    return body


def patch_function(request: web.Request) -> Callable[[Any, Any], Any]:
    """Return what applies the patch of a request; raises StatusError for other types."""
    patch = PATCHES.get(request.content_type)
    if patch is None:
        raise StatusError(
            415,
            "UnsupportedMediaType",
            f"patches of type {request.content_type} are not supported, only {', '.join(PATCHES)}",
        )
    return patch


def table_include(request: web.Request) -> str | None:
    """Return what of each object a row has; None unless a table is wanted, as kubectl prints."""
    is_wanted = "as=Table" in request.headers.get("Accept", "")
    return request.query.get("includeObject", "Metadata") if is_wanted else None


def delete_options(request: web.Request, body: Any) -> Object:
    """Return the DeleteOptions of the body and of the parameters."""
    options = dict(body)
    if "gracePeriodSeconds" in request.query:
        options["gracePeriodSeconds"] = int(request.query["gracePeriodSeconds"])
    if "propagationPolicy" in request.query:
        options["propagationPolicy"] = request.query["propagationPolicy"]
    return options


def encode_continue(revision: int, key: tuple[str, str]) -> str:
    """Return the token of a list's next page: after `key`, as of `revision`."""
    return base64.urlsafe_b64encode(orjson.dumps([revision, *key])).decode()


def decode_continue(token: str) -> tuple[int, tuple[str, str]]:
    """Return the revision and the key of a token; raises StatusError."""
    try:
        revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as error:
        raise expired("the continue token is not valid") from error
    return int(revision), (namespace, name)
