# SPDX-License-Identifier: Apache-2.0
"""A Prometheus with one sample of each GPU of a large cluster: the answer to the scaler's query.

The answer is made and compressed once, as large as a real one: a value and a time for each pod.
"""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from scaler.cluster.decode import EXPORTERS_NAMESPACE
from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.queries import PART, family_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

NAMES: Final = PRESETS["gpu-exporter"]
QUERY: Final = family_query(
    DUTY_CYCLE, DUTY_CYCLE, NAMES, matchers=(f'namespace="{EXPORTERS_NAMESPACE}"',)
)
EVALUATED_SECONDS: Final = 1_790_000_000.0
AGE_SECONDS: Final = 5.0


def answer_to_query(pods: Iterable[Mapping[str, str]], value: float) -> bytes:
    """Return the compressed answer for pods given by the labels of their series."""
    rows = []
    for labels in pods:
        kept = {name: labels[name] for name in _grouped_by()}
        for part, number in (("value", value), ("time", EVALUATED_SECONDS - AGE_SECONDS)):
            sample = [EVALUATED_SECONDS, f"{number:.3f}"]
            rows.append({"metric": kept | {PART: part}, "value": sample})
    document = {"status": "success", "data": {"resultType": "vector", "result": rows}}
    return gzip.compress(orjson.dumps(document), compresslevel=1)


@asynccontextmanager
async def running_prometheus(answer: bytes) -> AsyncIterator[str]:
    """Answer the one query with `answer` on a free port; yield the URL."""

    async def handle(request: web.Request) -> web.Response:
        asked = (await request.post()).get("query")
        if asked != QUERY:
            error = {"status": "error", "errorType": "bad_data", "error": f"not known: {asked!r}"}
            return web.json_response(error, status=400)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=answer, headers=headers)

    app = web.Application()
    app.router.add_post("/api/v1/query", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _grouped_by() -> tuple[str, ...]:
    return NAMES.namespace_label, NAMES.pod_label, *NAMES.device_labels
