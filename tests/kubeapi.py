# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API for --dra and --pod-labels to ask, and a service account for it."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.cluster.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


NODE = "node-1"
DRIVER = "gpu.nvidia.com"


def resource_slice(devices: dict[str, str], *, generation=1, pool=NODE, beta=False, driver=DRIVER):
    """A ResourceSlice whose devices (by name) have these UUIDs."""
    listed = []
    for name, uuid in devices.items():
        attributes = {"attributes": {"uuid": {"string": uuid}, "type": {"string": "gpu"}}}
        listed.append({"name": name, **({"basic": attributes} if beta else attributes)})
    return {
        "spec": {
            "driver": driver,
            "nodeName": NODE,
            "pool": {"name": pool, "generation": generation, "resourceSliceCount": 1},
            "devices": listed,
        }
    }


def pod_metadata(**labels: str):
    return {"metadata": {"labels": labels}}


class Api:
    """Answers what it has, as the API server does, and notes what it was asked."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.status: int | None = None
        self.requests: list[web.Request] = []
        self.hangs = False
        self.hung = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.hangs:
            self.hung += 1
            await asyncio.Event().wait()
        if self.status is not None:
            return web.json_response({"kind": "Status", "message": "no"}, status=self.status)
        if request.path not in self.documents:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(self.documents[request.path])


def service_account(folder: Path) -> ssl.SSLContext:
    """Make the folder of a service account; returns the TLS of an API server by its CA."""
    authority = Authority(folder, "ca")
    (folder / "token").write_text("secret-1\n")
    issued = authority.issue("server", hosts=["127.0.0.1", "kubernetes.invalid"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    return context
