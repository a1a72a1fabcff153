# SPDX-License-Identifier: Apache-2.0
"""A device plugin for GPUs that do not exist: whole ones, and the last one in replicas.

`python -m tests.cluster.node.deviceplugin FOLDER GPUS REPLICAS` serves in the kubelet's folder of
device plugins, and registers with each kubelet that comes up there. The GPUs are those that the
exporter's simulated NVML shows; the IDs are the NVIDIA plugin's, replicas are `UUID::N`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from simulator.exporter import busy_driver
from simulator.plugin_devices import GPU_RESOURCE, SHARED_GPU_RESOURCE
from tests.cluster.node import deviceplugin_pb2 as api

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL: Final = "H100"
POLL_SECONDS: Final = 0.1
CALL_TIMEOUT_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A resource and its device IDs."""

    resource_name: str
    device_ids: tuple[str, ...]

    @property
    def endpoint(self) -> str:
        """The name of its socket in the kubelet's folder."""
        return f"{self.resource_name.replace('/', '-')}.sock"


def gpu_uuids(gpus: int) -> list[str]:
    """Return the UUIDs that the simulated NVML shows, in its order."""
    return [gpu.uuid for gpu in busy_driver(MODEL, gpus).gpus]


def offers(gpus: int, replicas: int) -> tuple[Offer, Offer]:
    """Return what a node with `gpus` GPUs offers, the last of them shared."""
    *whole, shared = gpu_uuids(gpus)
    ids = tuple(f"{shared}::{number}" for number in range(replicas))
    return (
        Offer(resource_name=GPU_RESOURCE, device_ids=tuple(whole)),
        Offer(resource_name=SHARED_GPU_RESOURCE, device_ids=ids),
    )


class Plugin:
    """Serves one resource to one kubelet, which is over when that kubelet is."""

    def __init__(self, folder: Path, offer: Offer) -> None:
        self._folder = folder
        self._offer = offer
        self._stopped = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        methods = {
            "GetDevicePluginOptions": _unary(api.Empty, self._options),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                self._devices,
                request_deserializer=api.Empty.FromString,
                response_serializer=api.ListAndWatchResponse.SerializeToString,
            ),
            "Allocate": _unary(api.AllocateRequest, self._allocate),
        }
        handler = grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix:{folder / offer.endpoint}")
        self._server.start()

    def register(self) -> None:
        """Tell the kubelet of the socket; raises grpc.RpcError."""
        request = api.RegisterRequest(
            version="v1beta1",
            endpoint=self._offer.endpoint,
            resource_name=self._offer.resource_name,
        )
        # gRPC would send the socket's path for an authority, which Go servers refuse.
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(f"unix:{self._folder / 'kubelet.sock'}", options) as channel:
            channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )(request, timeout=CALL_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """End every call and the server."""
        self._stopped.set()
        self._server.stop(0).wait()

    def _options(self, _request: api.Empty, _context: Any) -> api.DevicePluginOptions:
        return api.DevicePluginOptions()

    def _devices(self, _request: api.Empty, context: Any) -> Iterator[api.ListAndWatchResponse]:
        context.add_callback(self._stopped.set)
        yield api.ListAndWatchResponse(
            devices=[api.Device(ID=one, health="Healthy") for one in self._offer.device_ids]
        )
        self._stopped.wait()

    def _allocate(self, request: api.AllocateRequest, _context: Any) -> api.AllocateResponse:
        answer = api.AllocateResponse()
        for container in request.container_requests:
            uuids = {one.partition("::")[0] for one in container.devices_ids}
            answer.container_responses.add(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(sorted(uuids))})
        return answer


def _unary(request: Any, method: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


def serve(folder: Path, offered: Sequence[Offer], stop: threading.Event) -> None:
    """Register with the kubelet whose socket is there, and with each one after it.

    A kubelet that starts empties its folder, so the sockets are made again as well.
    """
    plugins: list[Plugin] = []
    registered: object = None
    while not stop.wait(POLL_SECONDS):
        kubelet = _identity(folder / "kubelet.sock")
        if kubelet is None or kubelet == registered:
            continue
        for plugin in plugins:
            plugin.stop()
        plugins = [Plugin(folder, offer) for offer in offered]
        try:
            for plugin in plugins:
                plugin.register()
        except grpc.RpcError as error:
            log.warning("the kubelet refuses the plugin: %s", error)
        else:
            registered = kubelet
            log.info("registered with the kubelet")
    for plugin in plugins:
        plugin.stop()


def _identity(path: Path) -> object:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def main(folder: str, gpus: str, replicas: str) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve(Path(folder), offers(int(gpus), int(replicas)), stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
