# SPDX-License-Identifier: Apache-2.0
"""A tenant who may write Deployments floods the scaler with annotations; another one is scaled."""

from __future__ import annotations

import asyncio
import json

from tests.embedded import running_cluster
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, NAME, deployment
from tests.waiting import until

EVIL = "/apis/apps/v1/namespaces/evil/deployments"
POLICIES = [{"type": "Pods", "value": n + 1, "periodSeconds": 1} for n in range(100)]


def flood(name: str, **annotations: str):
    body = deployment(name=name, replicas=0, **annotations)
    body["metadata"]["namespace"] = "evil"
    return body


async def test_a_flood_of_annotations_costs_its_own_namespace(tmp_path):
    # What it took half a second to read before, and is refused by its length now.
    long = json.dumps({"scaleUp": {"policies": [*POLICIES, *POLICIES]}})
    full = "scaleUp: {policies: [" + "{type: x, value: x, periodSeconds: x}," * 27 + "]}"
    many = {f"gpu-scaler/a{n}": "x" for n in range(5_000)}
    async with running_cluster(tmp_path) as cluster:
        client = cluster.client
        await client.post("/api/v1/namespaces", {"metadata": {"name": "evil"}})
        for n in range(30):
            await client.post(EVIL, flood(f"text-{n}", behavior=long if n % 2 else full))
        body = flood("many")
        body["metadata"]["annotations"] |= many
        await client.post(EVIL, body)
        await client.post(DEPLOYMENTS, deployment())
        await cluster.ready(1)

        async def change_all() -> None:
            turn = 0
            while True:
                turn += 1
                for n in range(30):
                    text = f"{full}\n# {turn}"
                    annotations = {"gpu-scaler/behavior": text}
                    await client.patch(
                        f"{EVIL}/text-{n}", {"metadata": {"annotations": annotations}}
                    )

        async with running_scaler(cluster.kubeconfig) as scaler, cluster.under_load(80):
            attack = asyncio.create_task(change_all())
            await cluster.ready(2)

            async def refused() -> bool:
                decision = await scaler.decision("evil", "many")
                return decision.get("outcome") == "refused"

            await until(refused, what="the flood is refused")
            decision = await scaler.decision("evil", "many")
            shown = await scaler.text("/api/v1/decisions")
            assert not attack.done()
            attack.cancel()
            await asyncio.wait([attack])

            async def victim_has_grown() -> bool:
                victim = await scaler.decision("default", NAME)
                return bool(victim["current_replicas"] >= 2)

            await until(victim_has_grown, what="the decision on two replicas")
        log = "".join(scaler.log)
    assert len(decision["message"].encode()) <= 2048
    assert "; and " in decision["message"]
    assert len(decision["problems"]) == 21
    assert len(shown) < 1_000_000
    assert len(log) < 200_000
