# SPDX-License-Identifier: Apache-2.0
"""Watches: the changes of one resource as a stream of JSON lines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from simulator.apiserver.status import StatusError, bad_request
from simulator.apiserver.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.apiserver.changes import Change
    from simulator.apiserver.faults import Faults
    from simulator.apiserver.resources import Resource
    from simulator.apiserver.selectors import Predicate
    from simulator.apiserver.store import Store

    Object = dict[str, Any]

DEFAULT_TIMEOUT_SECONDS = 1800.0
# Whether a selector matched before and after a change -> the event that its watcher gets.
_SEEN_AS = {
    (False, False): None,
    (False, True): "ADDED",
    (True, True): "MODIFIED",
    (True, False): "DELETED",
}


async def serve_watch(
    request: web.Request,
    store: Store,
    faults: Faults,
    *,
    resource: Resource,
    namespace: str,
    predicate: Predicate | None,
    table_include: str | None,
    bookmark_interval_seconds: float,
) -> web.StreamResponse:
    """Stream changes until `timeoutSeconds` have passed or the client is gone.

    Without a resourceVersion, or from "0", the present objects come first as ADDED. A version
    that is forgotten ends the watch with an ERROR event that carries the 410 Status.
    """
    query = request.query
    given = query.get("resourceVersion", "")
    if given and not given.isdigit():
        raise bad_request(f"invalid resource version {given!r}")
    timeout = float(query.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS)
    bookmark = _bookmark if query.get("allowWatchBookmarks") in ("1", "true") else _nothing
    render = _renderer(resource, table_include)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    log = store.log(resource)
    changed = log.subscribe()
    faults.watch_opened(request)
    clock = asyncio.get_running_loop().time
    end = clock() + timeout
    try:
        revision = int(given or 0)
        if revision == 0:
            present = store.list_(resource, namespace)
            events = [("ADDED", item) for item in present if predicate is None or predicate(item)]
            revision = store.revision
            await _send(response, faults, b"".join(render(*event) for event in events))
        while True:
            changed.clear()
            events = _visible(log.since(revision), namespace, predicate)
            revision = max(revision, store.revision)
            await _send(response, faults, b"".join(render(*event) for event in events))
            left = end - clock()
            if left <= 0:
                await _send(response, faults, bookmark(resource, revision))
                break
            try:
                async with asyncio.timeout(min(left, bookmark_interval_seconds)):
                    await changed.wait()
            except TimeoutError:
                if not log.since(revision):
                    await _send(response, faults, bookmark(resource, store.revision))
    except StatusError as error:
        await _send(response, faults, _line({"type": "ERROR", "object": error.body()}))
    except ConnectionError:
        return response
    finally:
        log.unsubscribe(changed)
        faults.watch_closed(request)
    await response.write_eof()
    return response


def _visible(
    changes: list[Change], namespace: str, predicate: Predicate | None
) -> list[tuple[str, Object]]:
    """Return the changes as a watcher with this namespace and selector sees them."""
    events = []
    for change in changes:
        if namespace and change.thing["metadata"].get("namespace") != namespace:
            continue
        type_: str | None = change.type
        if predicate is not None:
            before = change.previous is not None and predicate(change.previous)
            after = change.type != "DELETED" and predicate(change.thing)
            type_ = _SEEN_AS[before, after]
        if type_ is not None:
            events.append((type_, change.thing))
    return events


def _renderer(resource: Resource, table_include: str | None) -> Callable[[str, Object], bytes]:
    if table_include is None:
        return lambda type_, thing: _line({"type": type_, "object": thing})

    def render(type_: str, thing: Object) -> bytes:
        metadata = {"resourceVersion": thing["metadata"]["resourceVersion"]}
        rows = table(resource, [thing], metadata, include_object=table_include)
        return _line({"type": type_, "object": rows})

    return render


def _bookmark(resource: Resource, revision: int) -> bytes:
    return _line(
        {
            "type": "BOOKMARK",
            "object": {
                "kind": resource.kind,
                "apiVersion": resource.api_version,
                "metadata": {"resourceVersion": str(revision), "creationTimestamp": None},
            },
        }
    )


def _nothing(resource: Resource, revision: int) -> bytes:
    return b""


def _line(event: Object) -> bytes:
    return orjson.dumps(event) + b"\n"


async def _send(response: web.StreamResponse, faults: Faults, data: bytes) -> None:
    await faults.watches_flow.wait()
    if data:
        await response.write(data)
