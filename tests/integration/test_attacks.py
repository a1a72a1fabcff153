# SPDX-License-Identifier: Apache-2.0
"""Whatever one party does, the decision of an innocent one is taken, and only its own changes."""

from __future__ import annotations

import pytest

from exporter.cli.config import ExporterConfig
from tests.attacks import ATTACKS, of_party, running_world
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, NAME
from tests.waiting import until

EXPORTER = ExporterConfig(nvml_interval_seconds=0.2, nvml_window_seconds=0.5)


@pytest.mark.parametrize("attack", [pytest.param(one, id=one.name) for one in ATTACKS])
async def test_an_innocent_party_is_scaled_beside(tmp_path, attack):
    async with running_world(tmp_path, exporter=EXPORTER) as world:
        await world.client.post(DEPLOYMENTS, of_party("innocent", NAME))
        await world.ready(1)
        async with running_scaler(world.kubeconfig) as scaler:

            async def is_decided() -> bool:
                return bool(await scaler.decision("default", NAME))

            await until(is_decided)
            async with attack.begin(world, scaler):
                world.load(80)
                await world.ready(2)
                assert scaler.process.returncode is None
            assert "Traceback" not in "".join(scaler.log)
            assert "Loop failed" not in "".join(scaler.log)
