# SPDX-License-Identifier: Apache-2.0
"""The REST verbs over HTTP: paths and parameters in, calls of the store, JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from simulator.apiserver import discovery, scale
from simulator.apiserver.discovery import THIS_SERVER
from simulator.apiserver.requests import (
    Target,
    body_of,
    decode_continue,
    delete_options,
    encode_continue,
    patch_function,
    table_include,
    target_of,
)
from simulator.apiserver.resources import NAMESPACES, PODS, Resource
from simulator.apiserver.selectors import object_predicate
from simulator.apiserver.status import StatusError, bad_request, conflict
from simulator.apiserver.store import key_of, timestamp
from simulator.apiserver.tables import table
from simulator.apiserver.watches import serve_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.apiserver.faults import Faults
    from simulator.apiserver.store import Store

    Object = dict[str, Any]


class Routes:
    """One handler for every path; StatusErrors become their Status."""

    def __init__(self, store: Store, faults: Faults, *, bookmark_interval_seconds: float) -> None:
        self._store = store
        self._faults = faults
        self._bookmark_interval_seconds = bookmark_interval_seconds

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        try:
            return await self._dispatch(request)
        except StatusError as error:
            return _json(error.body(), status=error.code)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        document = discovery.document(request.path, self._store.resources)
        if document is not None:
            return _json(document)
        target = target_of(request.path, self._store.resources)
        if request.query.get("dryRun"):
            raise bad_request(f"{THIS_SERVER} has no dryRun")
        if request.method == "GET":
            return await self._get(request, target)
        body = await body_of(request)
        answer, status = self._write(request, target, body)
        if table_include(request) is not None and answer.get("kind") != "Status":
            answer = table(target.resource, [answer], {})
        return _json(answer, status=status)

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        resource, include = target.resource, table_include(request)
        if target.name:
            thing = self._store.get(resource, target.namespace, target.name)
            if target.subresource == "scale":
                return _json(scale.to_scale(thing))
            if include is not None:
                metadata = {"resourceVersion": thing["metadata"]["resourceVersion"]}
                thing = table(resource, [thing], metadata, include_object=include)
            return _json(thing)
        predicate = object_predicate(request.query, resource)
        if request.query.get("watch") in ("1", "true"):
            return await serve_watch(
                request,
                self._store,
                self._faults,
                resource=resource,
                namespace=target.namespace,
                predicate=predicate,
                table_include=include,
                bookmark_interval_seconds=self._bookmark_interval_seconds,
            )
        items = self._store.list_(resource, target.namespace)
        if predicate is not None:
            items = [item for item in items if predicate(item)]
        items, metadata = self._page(request, resource, items)
        if include is not None:
            return _json(table(resource, items, metadata, include_object=include))
        return _json(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": metadata,
                # The real API leaves kind and apiVersion out of the items of a list, too.
                "items": [
                    {k: v for k, v in item.items() if k not in ("kind", "apiVersion")}
                    for item in items
                ],
            }
        )

    def _page(
        self, request: web.Request, resource: Resource, items: list[Object]
    ) -> tuple[list[Object], Object]:
        revision, after = self._store.revision, ("", "")
        if token := request.query.get("continue"):
            revision, after = decode_continue(token)
            self._store.log(resource).since(revision)  # raises 410 if it was compacted
            items = [item for item in items if key_of(item) > after]
        metadata: Object = {"resourceVersion": str(revision)}
        limit = int(request.query.get("limit") or 0)
        if limit and len(items) > limit:
            metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
            metadata["continue"] = encode_continue(revision, key_of(items[-1]))
        return items, metadata

    def _write(self, request: web.Request, target: Target, body: Any) -> tuple[Object, int]:
        store, resource = self._store, target.resource
        match request.method, bool(target.name), target.subresource:
            case "POST", False, "":
                return store.create(resource, target.namespace, body), 201
            case "POST", True, "binding":
                return self._bind(target, body), 201
            case "PUT", True, "scale":
                return self._scale(target, lambda _: body), 200
            case "PATCH", True, "scale":
                patch = patch_function(request)
                return self._scale(target, lambda old: patch(old, body)), 200
            case "PUT", True, sub:
                name = (body.get("metadata") or {}).get("name")
                if name != target.name:
                    raise bad_request(
                        f"the name of the object ({name}) does not match the name on the URL "
                        f"({target.name})"
                    )
                return store.replace(resource, target.namespace, body, subresource=sub), 200
            case "PATCH", True, sub:
                return self._patch(request, target, body, sub)
            case "DELETE", True, "":
                options = delete_options(request, body)
                thing, gone = store.delete(resource, target.namespace, target.name, options)
                return (_deleted(resource, thing) if gone and resource is not PODS else thing), 200
            case "DELETE", False, "":
                self._delete_collection(request, target, body)
                return {"kind": "Status", "apiVersion": "v1", "status": "Success"}, 200
        raise StatusError(
            405, "MethodNotAllowed", "the server does not allow this method on this resource"
        )

    def _patch(
        self, request: web.Request, target: Target, body: Any, subresource: str
    ) -> tuple[Object, int]:
        patch = patch_function(request)
        if request.content_type == "application/apply-patch+yaml" and not subresource:
            try:
                self._store.get(target.resource, target.namespace, target.name)
            except StatusError:
                return self._store.create(target.resource, target.namespace, body), 201
        thing = self._store.modify(
            target.resource,
            target.namespace,
            target.name,
            lambda old: patch(old, body),
            subresource=subresource,
        )
        return thing, 200

    def _scale(self, target: Target, change: Callable[[Object], Object]) -> Object:
        thing = self._store.get(target.resource, target.namespace, target.name)
        wanted = change(scale.to_scale(thing))
        changed = self._store.modify(
            target.resource,
            target.namespace,
            target.name,
            lambda copy: scale.apply_scale(copy, wanted),
        )
        return scale.to_scale(changed)

    def _bind(self, target: Target, body: Object) -> Object:
        pod = self._store.get(PODS, target.namespace, target.name)
        node = (body.get("target") or {}).get("name")
        if pod["metadata"].get("deletionTimestamp"):
            raise conflict(PODS, target.name, f"pod {target.name} is being deleted")
        if pod["spec"].get("nodeName"):
            why = f'pod {target.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise conflict(PODS, target.name, why)
        if not node:
            raise bad_request("target.name is required")
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(),
        }
        self._store.bind(target.namespace, target.name, node, scheduled)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _delete_collection(self, request: web.Request, target: Target, body: Any) -> None:
        predicate = object_predicate(request.query, target.resource)
        for thing in self._store.list_(target.resource, target.namespace):
            if predicate is None or predicate(thing):
                options = delete_options(request, body)
                self._store.delete(target.resource, *key_of(thing), options)


def _json(body: Any, *, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers={"Content-Type": "application/json"}
    )


def _deleted(resource: Resource, thing: Object) -> Object:
    if resource is NAMESPACES:
        return thing
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": thing["metadata"]["name"],
            "group": resource.group,
            "kind": resource.plural,
            "uid": thing["metadata"]["uid"],
        },
    }
