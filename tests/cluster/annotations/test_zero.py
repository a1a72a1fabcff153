# SPDX-License-Identifier: Apache-2.0
"""Scale to zero on the real control plane, with the rights that we ship, and over a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.answering import Answers
from tests.running import running_scaler
from tests.scaled import Scaled, deployment
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

NAME = "sleeper"
ZEROS = "/api/v1/namespaces/gpu-scaler/configmaps/gpu-scaler-zeros"
LEASE_FLAGS = ("--lease-duration=3s", "--renew-deadline=2s", "--retry-period=1s")


async def test_a_restarted_scaler_wakes_what_it_put_to_sleep(
    scaled: Scaled, kubeconfig: Path, namespace: str
):
    answers = Answers()
    answers.totals["sum(queue)"] = 0
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    body = deployment(
        name=NAME, min_replicas="0", query="sum(queue)", target_query="10", cooldown="1s"
    )
    body["metadata"].pop("namespace", None)
    del body["metadata"]["annotations"]["gpu-scaler/target-duty-cycle"]
    await scaled.client.post(path, body)

    async def has(count: int) -> bool:
        found = await scaled.client.get(f"{path}/{NAME}")
        return bool(found["spec"]["replicas"] == count)

    async with serving(answers.answer) as url:
        flags = ("--source=prometheus", f"--prometheus.url={url}", *LEASE_FLAGS)
        async with running_scaler(kubeconfig, *flags) as scaler:
            await until(lambda: has(0), what="it sleeps")
            scaler.process.kill()
        written = (await scaled.client.get(ZEROS))["data"]
        assert f"{namespace}/{NAME}" in written.values()
        answers.totals["sum(queue)"] = 15
        async with running_scaler(kubeconfig, *flags, "--identity=next") as scaler:
            await until(lambda: has(2), what="it is awake")

            async def is_struck_out() -> bool:
                data = (await scaled.client.get(ZEROS)).get("data") or {}
                return f"{namespace}/{NAME}" not in data.values()

            await until(is_struck_out, what="its zero is struck out")
        assert not [line for line in scaler.log if "level=error" in line]
