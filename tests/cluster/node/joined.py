# SPDX-License-Identifier: Apache-2.0
"""The node with everything on it: our device plugin, and the exporter as its DaemonSet runs it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.cluster.node import deviceplugin, images
from tests.cluster.node.machine import Machine, running_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane
    from tests.image.shipped import ShippedImage

    JsonObject = dict[str, Any]

NAME: Final = "real-node"
GPUS: Final = 4
REPLICAS: Final = 2
MANIFEST: Final = images.REPOSITORY / "daemonset" / "exporter.yaml"
PODS: Final = "/api/v1/namespaces/gpu-exporter/pods"
DEADLINE_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedNode:
    """A node that works; `exporter_pod` is the DaemonSet's pod on it, ready."""

    machine: Machine
    exporter_pod: JsonObject

    @property
    def name(self) -> str:
        """The node's name."""
        return self.machine.name

    @property
    def whole_uuids(self) -> set[str]:
        """The GPUs that are given away as a whole."""
        return {*deviceplugin.gpu_uuids(GPUS)[:-1]}

    @property
    def shared_uuid(self) -> str:
        """The GPU that is offered in replicas."""
        return deviceplugin.gpu_uuids(GPUS)[-1]

    @property
    def exporter_path(self) -> str:
        """Where the API has the exporter's pod."""
        return f"{PODS}/{self.exporter_pod['metadata']['name']}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would scrape the exporter."""
        (container,) = self.exporter_pod["spec"]["containers"]
        (port,) = (one for one in container["ports"] if one["name"] == "metrics")
        return f"http://{self.exporter_pod['status']['podIP']}:{port['containerPort']}/metrics"


def daemonset() -> JsonObject:
    """Return the shipped DaemonSet."""
    documents = yaml.safe_load_all(MANIFEST.read_text())
    found: JsonObject = next(one for one in documents if one["kind"] == "DaemonSet")
    return found


@contextmanager
def joined_node(plane: ControlPlane, shipped: ShippedImage, folder: Path) -> Iterator[JoinedNode]:
    """Run the node while the context lasts; the shipped namespaces and accounts must be there."""
    idle, exporter = folder / "idle.tar", folder / "exporter.tar"
    (container,) = daemonset()["spec"]["template"]["spec"]["containers"]
    images.write_idle(idle, idle=plane.tool("idle"))
    images.write_exporter(exporter, shipped, tag=container["image"], gpus=GPUS)
    with running_machine(plane, NAME) as machine:
        for archive in (idle, exporter):
            machine.load_images(archive)
            archive.unlink()
        machine.start_kubelet()
        with _device_plugin(plane, machine):
            wait_for_devices(plane)
            try:
                plane.apply(yaml.safe_dump(daemonset()))
                yield JoinedNode(machine=machine, exporter_pod=_exporter_pod(plane))
            finally:
                plane.kubectl("delete", "--namespace=gpu-exporter", "daemonset/gpu-exporter")
                plane.kubectl("delete", "pods", "--all-namespaces", "--force", *_ON_NODE)
    plane.request("DELETE", f"/api/v1/nodes/{NAME}")


_ON_NODE: Final = (f"--field-selector=spec.nodeName={NAME}", "--grace-period=0", "--wait=false")


def wait_for_devices(plane: ControlPlane) -> None:
    """Return when the node is ready and offers all devices."""

    def offers() -> bool:
        nodes = plane.request("GET", f"/api/v1/nodes?fieldSelector=metadata.name={NAME}")["items"]
        if not nodes:
            return False
        status = nodes[0]["status"]
        ready = {one["type"]: one["status"] for one in status["conditions"]}.get("Ready")
        allocatable = status["allocatable"]
        return ready == "True" and all(
            allocatable.get(offer.resource_name) == str(len(offer.device_ids))
            for offer in deviceplugin.offers(GPUS, REPLICAS)
        )

    plane.processes.wait_for(
        "kubelet", offers, what="offering its devices", deadline_seconds=DEADLINE_SECONDS
    )


@contextmanager
def _device_plugin(plane: ControlPlane, machine: Machine) -> Iterator[None]:
    module = "tests.cluster.node.deviceplugin"
    plane.processes.start(
        "device-plugin",
        [sys.executable, "-m", module, machine.device_plugins, str(GPUS), str(REPLICAS)],
        environment={"PYTHONPATH": str(images.REPOSITORY)},
    )
    try:
        yield
    finally:
        plane.processes.stop("device-plugin")


def _exporter_pod(plane: ControlPlane) -> JsonObject:
    """Bind the DaemonSet's pod as the scheduler would, and return it when it is ready."""

    def pod() -> JsonObject | None:
        pods: list[JsonObject] = plane.request("GET", PODS)["items"]
        return next((one for one in pods if _is_for_this_node(one)), None)

    name = plane.processes.wait_for("kubelet", pod, what="given a pod")["metadata"]["name"]
    plane.request(
        "POST",
        f"{PODS}/{name}/binding",
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
        },
    )

    def ready() -> JsonObject | None:
        found = plane.request("GET", f"{PODS}/{name}")
        conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
        return found if conditions.get("Ready") == "True" else None

    found: JsonObject = plane.processes.wait_for(
        "kubelet", ready, what="running the exporter", deadline_seconds=DEADLINE_SECONDS
    )
    return found


def _is_for_this_node(pod: JsonObject) -> bool:
    # The DaemonSet controller names the node in the pod's affinity, for the scheduler to read.
    return f"'values': ['{NAME}']" in str(pod["spec"].get("affinity"))
