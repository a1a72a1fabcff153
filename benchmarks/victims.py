# SPDX-License-Identifier: Apache-2.0
"""Which pods a scale-down removes: the ReplicaSet's choice beside the idlest, on one cluster.

Two Deployments of 32 pods, one with `gpu-scaler/scale-down-pods: any`, one with `idlest`, have the
same kind of load: requests arrive at each pod at random and take some seconds each, and a GPU is
busy while its pod has any in hand. Again and again the maximum falls by 4 and rises again. A victim
is busy if it has requests in hand when its deletion is seen; they are cut off. The cluster is the
test bed's real control plane with its ReplicaSet controller and simulated nodes with their real
exporters, all at their defaults; the scaler is a process with its own service account.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.victimstable import Victims, report, rows_of
from scaler.kube.client import KubeClient
from simulator.nodes import NodeSpec, running_nodes
from simulator.scenario import deployment
from tests.cluster.conftest import MARKS_PODS
from tests.cluster.controlplane import running_control_plane
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from simulator.nodes import SimulatedNodes
    from tests.cluster.controlplane import ControlPlane

SEED: Final = 20_261_130
PODS: Final = 32
VICTIMS: Final = 4
GPUS_PER_NODE: Final = 8
REQUEST_SECONDS: Final = 10.0
IN_HAND: Final = 0.65
"""Requests in a pod's hands on average; a pod is busy for 1 - exp(-0.65) = 48 % of the time."""
SETTLE_SECONDS: Final = 20.0
DEADLINE_SECONDS: Final = 240.0
STEP_SECONDS: Final = 0.05
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"


@dataclass(slots=True)
class PodRequests:
    """The requests of one pod: when the next arrives, and when those in hand end."""

    app: str
    next_seconds: float
    ends: list[float] = field(default_factory=list)

    def advance(self, now_seconds: float, chance: random.Random) -> int:
        """Return the requests in hand at an instant."""
        while self.next_seconds <= now_seconds:
            self.ends.append(self.next_seconds + chance.expovariate(1 / REQUEST_SECONDS))
            self.next_seconds += chance.expovariate(IN_HAND / REQUEST_SECONDS)
        self.ends = [end for end in self.ends if end > now_seconds]
        return len(self.ends)


class Load:
    """The requests of all pods; the only one that sets the load of GPUs."""

    def __init__(self, nodes: SimulatedNodes) -> None:
        self._nodes = nodes
        self._chance = random.Random(SEED)
        self._pods: dict[str, PodRequests] = {}
        self.found: dict[str, Victims] = {}

    async def run(self) -> None:
        """Advance until cancelled."""
        while True:
            self._step(time.monotonic())
            await asyncio.sleep(STEP_SECONDS)

    def _step(self, now_seconds: float) -> None:
        percent: dict[str, float] = {}
        stay: set[str] = set()
        for pod in self._nodes.pods():
            metadata = pod["metadata"]
            app = (metadata.get("labels") or {}).get("app", "")
            if app not in self.found or "deletionTimestamp" in metadata or not _is_ready(pod):
                continue
            uid = metadata["uid"]
            stay.add(uid)
            if uid not in self._pods:
                wait = self._chance.expovariate(IN_HAND / REQUEST_SECONDS)
                self._pods[uid] = PodRequests(app, now_seconds + wait)
            in_hand = self._pods[uid].advance(now_seconds, self._chance)
            for uuid in self._nodes.devices_of("default", metadata["name"]):
                percent[uuid] = 100.0 if in_hand else 0.0
        self._nodes.set_loads(percent)
        for app, found in self.found.items():
            pods = {uid: one for uid, one in self._pods.items() if one.app == app}
            in_hands = [
                pods[uid].advance(now_seconds, self._chance) for uid in sorted(pods.keys() - stay)
            ]
            if not in_hands:
                continue
            everybody = [*in_hands, *(len(pods[uid].ends) for uid in pods.keys() & stay)]
            found.count += len(in_hands)
            found.busy += sum(one > 0 for one in in_hands)
            found.requests += sum(in_hands)
            share = len(in_hands) / len(everybody)
            found.random_busy += share * sum(one > 0 for one in everybody)
            found.random_requests += share * sum(everybody)
            for uid in pods.keys() - stay:
                del self._pods[uid]


def main() -> None:
    """Scale down again and again, and publish what was hit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="scale-downs of each Deployment")
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory(prefix="victims-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        found = asyncio.run(_run(plane, rounds))
    report(rows_of(found["any"], found["idlest"]))


async def _run(plane: ControlPlane, rounds: int) -> dict[str, Victims]:
    await asyncio.to_thread(plane.install)
    await asyncio.to_thread(plane.apply, MARKS_PODS)
    specs = [
        NodeSpec(name=f"gpu-{n}", gpus=("H100",) * GPUS_PER_NODE)
        for n in range(2 * PODS // GPUS_PER_NODE)
    ]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        nodes = await stack.enter_async_context(running_nodes(client, specs, startup_seconds=0.1))
        load = Load(nodes)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(load.run())
        for choice in ("any", "idlest"):
            load.found[choice] = Victims()
            await client.post(DEPLOYMENTS, _deployment(choice))
        await _all_ready(client)
        kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, "gpu-scaler/gpu-scaler")
        async with running_scaler(kubeconfig, "--namespaces=default", "--interval=2s"):
            for number in range(rounds):
                await asyncio.sleep(SETTLE_SECONDS)
                for count in (PODS - VICTIMS, PODS):
                    for choice in load.found:
                        await client.patch(f"{DEPLOYMENTS}/{choice}", _range(count))
                    await _all_ready(client, count)
                print(f"round {number + 1} of {rounds}: {load.found}", flush=True)
        running.cancel()
    return load.found


async def _all_ready(client: KubeClient, count: int = PODS) -> None:
    async def ready() -> bool:
        found = (await client.list_(DEPLOYMENTS))["items"]
        states = [one.get("status", {}) for one in found]
        return all(one.get("readyReplicas", 0) == one.get("replicas", 0) == count for one in states)

    await until(ready, deadline_seconds=DEADLINE_SECONDS, what=f"{count} pods each are Ready")


def _deployment(choice: str) -> dict[str, Any]:
    annotations = {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/target-duty-cycle": "80",
        "gpu-scaler/scale-down-pods": choice,
        **_range(PODS)["metadata"]["annotations"],
    }
    return deployment(
        choice,
        replicas=PODS,
        annotations=annotations,
        pod_annotations={},
        limits={"nvidia.com/gpu": "1"},
    )


def _range(count: int) -> dict[str, Any]:
    named = {"gpu-scaler/min-replicas": str(count), "gpu-scaler/max-replicas": str(count)}
    return {"metadata": {"annotations": named}}


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


if __name__ == "__main__":
    main()
