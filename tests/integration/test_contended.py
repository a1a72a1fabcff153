# SPDX-License-Identifier: Apache-2.0
"""The scaler beside a GitOps tool that sets the count back as soon as it sees it changed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.embedded import running_cluster
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, NAME, PATH, deployment
from tests.waiting import until

QUICK = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 1}]}}


async def test_a_count_that_is_set_back_is_contended_and_not_fought_over(tmp_path):
    patches: list[str] = []

    def note(request):
        if request.method == "PATCH" and request.path.endswith("/scale"):
            patches.append(request.path)
        return False

    async with running_cluster(tmp_path) as cluster:
        await cluster.client.post(DEPLOYMENTS, deployment(behavior=json.dumps(QUICK)))
        await cluster.ready(1)
        cluster.api.faults.applies_to = note

        async def heal() -> None:
            while True:
                if await cluster.replicas() != 1:
                    await cluster.client.patch(PATH, {"spec": {"replicas": 1}})
                await asyncio.sleep(0.05)

        async with running_scaler(cluster.kubeconfig) as scaler, cluster.under_load(80):
            healing = asyncio.create_task(heal())

            async def contended() -> dict[str, Any]:
                decision = await scaler.decision("default", NAME)
                return decision if decision.get("reason") == "ContendedReplicas" else {}

            decision = await until(contended, deadline_seconds=60, what="it is noticed")
            assert decision["outcome"] == "held"
            assert decision["message"].count("found 1 instead of 2") == 1
            assert decision["message"].count("instead of") == 3
            count = len(patches)
            assert count == 3

            async def is_reported() -> bool:
                return any(
                    event["reason"] == "ContendedReplicas" for event in await cluster.events()
                )

            await until(is_reported, what="an event says so at once")
            metrics = await scaler.text("/metrics")
            assert 'gpu_scaler_held_total{reason="ContendedReplicas"}' in metrics
            assert len(patches) == count
            healing.cancel()
            await asyncio.wait([healing])
