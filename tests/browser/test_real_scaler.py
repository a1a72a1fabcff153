# SPDX-License-Identifier: Apache-2.0
"""The scaler as its users run it, seen on its page while it scales."""

from __future__ import annotations

import pytest

from tests.browser.scenes import keep
from tests.embedded import running_cluster
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, NAME, deployment
from tests.waiting import until

WHAT_IF = f"/api/v1/deployments/default/{NAME}/what-if?metric=duty_cycle&seconds=3600"
pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_a_rescale_is_seen_as_it_happens(browser, tmp_path):
    async with running_cluster(tmp_path) as cluster:
        await cluster.client.post(DEPLOYMENTS, deployment())
        await cluster.ready(1)
        async with running_scaler(cluster.kubeconfig) as scaler, browser.page() as page:
            await page.open(f"{scaler.url}/")
            await page.see(f"document.querySelector('.deployments a')?.innerText === {NAME!r}")
            await page.see("document.querySelector('.deployments .count').innerText === '1'")
            cluster.load(80)
            await page.see("document.querySelector('.deployments .count').innerText === '2'")
            await page.see(
                "document.querySelector('.events').innerText"
                ".includes('New size: 2; reason: duty_cycle above target')"
            )
            await page.evaluate("document.querySelector('.deployments a').click()")
            await page.see("document.querySelectorAll('.pods tbody tr').length === 2")
            await page.see("document.querySelector('.past').innerText.includes('1 → 2')")
            await page.see("document.querySelector('.readout')?.innerText.match('[12] Ready')")
            await page.see("document.querySelector('#what-target').value !== ''")

            async def can_be_replayed() -> bool:
                return '"results"' in await scaler.text(WHAT_IF)

            await until(can_be_replayed, what="enough of the past is kept for a what-if")
            await page.evaluate("document.querySelector('.what-if button').click()")
            await page.see("document.querySelectorAll('.results tbody tr').length === 3")
            await page.see("document.querySelector('.pods tbody a').innerText === 'gpu-node-1'")
            await page.evaluate("document.querySelector('.pods tbody a').click()")
            await page.see("document.querySelectorAll('.gpus li').length === 8")
            held = "[...document.querySelectorAll('.gpus a')].map((one) => one.title)"
            await page.see(f"{held}.length === 2")
            names = {
                f"default/{pod['metadata']['name']}"
                for pod in cluster.nodes.pods()
                if pod["metadata"]["namespace"] == "default"
            }
            assert set(await page.evaluate(held)) == names
            await keep(page, "real-map")
            assert page.complaints == []
            foreign = [one for one in page.requests if not one.startswith(f"{scaler.url}/")]
            assert foreign == []
