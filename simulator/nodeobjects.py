# SPDX-License-Identifier: Apache-2.0
"""The Node, Lease and exporter Pod of a simulated node as the API wants them; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from simulator.gpus import MIB
from simulator.kubernetes_version import KUBERNETES_VERSION
from simulator.plugin_devices import GPU_RESOURCE
from simulator.podstatus import POD_IP_ANNOTATION, STARTUP_ANNOTATION, condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.driver import SimulatedDriver
    from simulator.gpus import GpuSpec

    JsonObject = dict[str, Any]

LOOPBACK: Final = "127.0.0.1"
GUEST: Final = "simulator/node"
"""The label and the taint of nodes in a cluster that has real ones."""
LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_SECONDS: Final = 40
EXPORTER_LABELS: Final = {"app.kubernetes.io/name": "gpu-exporter"}
_SYSTEM_LABELS: Final = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
_PRESENT_LABELS: Final = {"nvidia.com/gpu.present": "true"}
_GUEST_LABELS: Final = {GUEST: "true"}
_GUEST_TAINT: Final = {"key": GUEST, "value": "true", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A node to simulate.

    `gpus` are keys of `simulator.driver.MODELS` or `GpuSpec`s. `replicas` above 1 shares each GPU;
    `resource_name` is how whole or shared GPUs are offered. `gke_names` gives devices GKE's names.
    A `guest` is in a cluster that has real nodes: it takes only pods that tolerate the taint GUEST,
    and has nothing by which DaemonSets and network plugins choose nodes.
    """

    name: str
    gpus: tuple[str | GpuSpec, ...] = ("T4",)
    replicas: int = 1
    resource_name: str = GPU_RESOURCE
    gke_names: bool = False
    guest: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the nodes are run.

    Their exporters listen on `host`, on the ports from `first_port` on, or on free ones if that is
    0. `owner` is an object of the whole cluster, as ownerReferences have it: what the nodes put
    into the cluster goes with it.
    """

    host: str = LOOPBACK
    first_port: int = 0
    owner: JsonObject | None = None

    def owned(self, thing: JsonObject) -> JsonObject:
        """Return the object with its owner."""
        if self.owner is None:
            return thing
        return thing | {"metadata": thing["metadata"] | {"ownerReferences": [self.owner]}}


def node(
    spec: NodeSpec, driver: SimulatedDriver, capacity: Mapping[str, int], now: str
) -> JsonObject:
    """Return the Node, status included, with the labels of GPU feature discovery."""
    resources = {
        "cpu": "64",
        "memory": "512Gi",
        "ephemeral-storage": "1Ti",
        "pods": "110",
        **{name: str(count) for name, count in capacity.items()},
    }
    addresses = [{"type": "Hostname", "address": spec.name}]
    if not spec.guest:
        # Network plugins lay routes to this one.
        addresses.append({"type": "InternalIP", "address": LOOPBACK})
    pressures = [
        _node_condition(f"{kind}Pressure", "False", f"KubeletHasNo{kind}Pressure", now)
        for kind in ("Memory", "Disk", "PID")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": {
                "kubernetes.io/hostname": spec.name,
                **(_GUEST_LABELS if spec.guest else _SYSTEM_LABELS),
                **_gpu_labels(spec, driver),
                **spec.labels,
            },
        },
        "spec": {
            "providerID": f"simulated://{spec.name}",
            "taints": [_GUEST_TAINT] if spec.guest else [],
        },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": addresses,
            "conditions": [*pressures, _node_condition("Ready", "True", "KubeletReady", now)],
            "nodeInfo": _node_info(spec.name),
        },
    }


def lease(node_name: str, now: str) -> JsonObject:
    """Return the Lease by which a kubelet says that it lives; `now` has microseconds."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node_name, "namespace": LEASE_NAMESPACE},
        "spec": {
            "holderIdentity": node_name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now,
        },
    }


def exporter_pod(node_name: str, namespace: str, host: str, port: int) -> JsonObject:
    """Return the Pod that stands for the node's exporter, reachable at this address."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": exporter_name(node_name),
            "namespace": namespace,
            "labels": EXPORTER_LABELS,
            "annotations": {POD_IP_ANNOTATION: host, STARTUP_ANNOTATION: "0"},
        },
        "spec": {
            "nodeName": node_name,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "gpu-exporter",
                    "image": "gpu-exporter:simulated",
                    "ports": [{"name": "metrics", "containerPort": port, "protocol": "TCP"}],
                }
            ],
        },
    }


def exporter_name(node_name: str) -> str:
    """Return the name of the node's exporter Pod."""
    return f"gpu-exporter-{node_name}"


def _gpu_labels(spec: NodeSpec, driver: SimulatedDriver) -> dict[str, str]:
    if not driver.gpus:
        return {}
    model, count = Counter(gpu.model for gpu in driver.gpus).most_common(1)[0]
    product = model.name.replace(" ", "-") + ("-SHARED" if spec.replicas > 1 else "")
    labels = {
        **({} if spec.guest else _PRESENT_LABELS),
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(model.memory_total_bytes // MIB),
        "nvidia.com/gpu.replicas": str(spec.replicas),
        "nvidia.com/gpu.sharing-strategy": "time-slicing" if spec.replicas > 1 else "none",
    }
    if any(gpu.mig_enabled for gpu in driver.gpus):
        labels["nvidia.com/mig.strategy"] = "mixed"
    return labels


def _node_condition(kind: str, status: str, reason: str, now: str) -> JsonObject:
    entry = condition(kind, status, now, reason=reason, message=f"simulated: {reason}")
    del entry["lastProbeTime"]
    return entry | {"lastHeartbeatTime": now}


def _node_info(name: str) -> dict[str, str]:
    return {
        "machineID": name,
        "systemUUID": name,
        "bootID": name,
        "kernelVersion": "6.8.0-simulated",
        "osImage": "Simulated",
        "containerRuntimeVersion": "simulated://1.0.0",
        "kubeletVersion": KUBERNETES_VERSION,
        "kubeProxyVersion": KUBERNETES_VERSION,
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
