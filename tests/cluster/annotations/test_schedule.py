# SPDX-License-Identifier: Apache-2.0
"""Times of day on the real control plane, whose clock the test sets, and over a takeover."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.cluster.annotations.between import running_between
from tests.cluster.annotations.conftest import ACCOUNT
from tests.running import ScalerProcess, running_scaler
from tests.scaled import DEPLOYMENTS, NAME, Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.controlplane import ControlPlane

OFFICE = '[{days: Mon-Fri, from: "08:00", to: "18:00", timezone: Europe/Berlin, min: 3}]'
# Not far apart: a jump of the clock counts only once it has lasted. The clock that stands still
# seems to go on for a few answers.
FRIDAY_AFTERNOON = datetime(2099, 12, 4, 16, 59, 40, tzinfo=UTC)
FRIDAY_EVENING = datetime(2099, 12, 4, 17, tzinfo=UTC)
MONDAY_MORNING = datetime(2099, 12, 7, 7, tzinfo=UTC)


async def test_the_time_of_day_moves_the_minimum(installed: ControlPlane, scaled: Scaled) -> None:
    """Nothing is under load."""
    behavior = '{"scaleDown": {"stabilizationWindowSeconds": 0}}'
    await scaled.client.post(DEPLOYMENTS, deployment(schedule=OFFICE, behavior=behavior))

    async def change(scaler: ScalerProcess) -> str:
        policy = (await scaler.decision("default", NAME)).get("policy") or {}
        return str(((policy.get("scheduled") or {}).get("change") or {}).get("at"))

    async def replicas(count: int) -> None:
        async def are() -> bool:
            return await scaled.replicas() == count

        await until(are, what=f"{count} replicas")

    async with running_between(installed) as (between, url):
        kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, ACCOUNT, server=url)
        between.time = FRIDAY_AFTERNOON
        async with running_scaler(kubeconfig) as scaler:
            await replicas(3)
            await scaled.ready(3)
            assert await change(scaler) == "Fri 2099-12-04 18:00 Europe/Berlin"
            between.time = FRIDAY_EVENING
            await replicas(1)
            scaler.process.kill()
        between.time = MONDAY_MORNING
        async with running_scaler(kubeconfig, "--identity=next") as scaler:
            await replicas(3)
            assert await change(scaler) == "Mon 2099-12-07 18:00 Europe/Berlin"
