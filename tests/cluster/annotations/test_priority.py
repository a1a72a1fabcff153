# SPDX-License-Identifier: Apache-2.0
"""Who gets the next GPU on the real control plane, with one node that runs full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.running import ScalerProcess, running_scaler
from tests.scaled import DEPLOYMENTS, Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, BATCH, FULL = (f"{DEPLOYMENTS}/{name}" for name in ("train", "batch", "full"))


def on_gpus(name: str, replicas: int, gpus: int = 1, **annotations: str) -> dict[str, Any]:
    body = deployment(name=name, replicas=replicas, **annotations)
    for container in body["spec"]["template"]["spec"]["containers"]:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return body


async def reason(scaler: ScalerProcess, name: str) -> str | None:
    decision = await scaler.decision("default", name)
    return decision.get("reason")


async def test_the_more_important_deployment_gets_the_next_gpu(
    scaled: Scaled, kubeconfig: Path
) -> None:
    """All 8 GPUs are taken: by the two under load, and by one that nobody scales."""
    await scaled.client.post(DEPLOYMENTS, on_gpus("full", 6, enabled="false"))
    await scaled.client.post(DEPLOYMENTS, on_gpus("train", 1, priority="100", max_replicas="2"))
    await scaled.client.post(DEPLOYMENTS, on_gpus("batch", 1, paused="true", max_replicas="4"))
    for path, count in ((FULL, 6), (TRAIN, 1), (BATCH, 1)):
        await scaled.ready(count, path=path)

    async with running_scaler(kubeconfig) as scaler, scaled.under_load(90.0):

        async def train_waits() -> bool:
            return await reason(scaler, "train") == "InsufficientGPU"

        async def batch_is_behind() -> bool:
            return (await scaler.decision("default", "batch")).get(
                "waits_behind"
            ) == "default/train"

        async def batch_grows() -> bool:
            return await scaled.replicas(BATCH) > 1

        await until(train_waits, what="train waits for a GPU")
        await scaled.client.patch(BATCH, {"metadata": {"annotations": {"gpu-scaler/paused": None}}})
        await until(batch_is_behind, what="batch waits behind train")
        scaler.process.kill()
        assert await scaled.replicas(BATCH) == 1

    async with running_scaler(kubeconfig, "--identity=next") as scaler, scaled.under_load(90.0):
        await until(batch_is_behind, what="batch waits behind train after a takeover as well")
        assert await scaled.replicas(BATCH) == 1
        await scaled.client.patch(f"{FULL}/scale", {"spec": {"replicas": 5}})
        await scaled.ready(2, path=TRAIN)
        await until(batch_grows, what="batch grows once train has its GPUs")
