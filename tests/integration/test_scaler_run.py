# SPDX-License-Identifier: Apache-2.0
"""The scaler as a process on the embedded API, with simulated nodes and the real exporter."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import Any

import pytest

from tests.running import run_program, running_scaler
from tests.scaled import DEPLOYMENTS, LEASE, NAME, PATH, deployment
from tests.waiting import DEADLINE_SECONDS, until


async def test_scales_out_on_load_and_says_so(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(80)
        await cluster.ready(2)

        async def rescales() -> list[dict[str, Any]]:
            events = await cluster.events()
            return [event for event in events if event["reason"] == "SuccessfulRescale"]

        events = await until(rescales)
        metrics = await scaler.text("/metrics")
    assert events[0]["type"] == "Normal"
    assert events[0]["message"] == "New size: 2; reason: duty_cycle above target"
    assert events[0]["involvedObject"]["kind"] == "Deployment"
    labels = f'deployment="{NAME}",kind="deployments.apps",namespace="default"'
    assert f"gpu_scaler_current_replicas{{{labels}}} " in metrics
    assert 'gpu_scaler_rescales_total{direction="up"} 1.0' in metrics
    assert "gpu_scaler_leader 1.0" in metrics
    for shown in (
        'gpu_scaler_api_requests_total{code="200",method="PATCH"} 1.0',
        'gpu_scaler_loop_stage_duration_seconds_count{stage="read"}',
    ):
        assert shown in metrics


async def test_with_idle_all_the_idle_gpus_of_every_workload_are_counted(cluster):
    others = deployment()
    del others["metadata"]["annotations"]
    await cluster.client.post(DEPLOYMENTS, others)
    await cluster.ready(1)
    cluster.load(0)
    labels = f'kind="deployments.apps",namespace="default",workload="{NAME}"'
    async with running_scaler(cluster.kubeconfig, "--idle.all") as scaler:

        async def seconds() -> float:
            found = re.search(
                rf"gpu_scaler_idle_gpu_seconds_total{{{labels}}} (\S+)",
                await scaler.text("/metrics"),
            )
            return float(found[1]) if found else 0.0

        assert await until(seconds, what="idle GPU time") > 0


async def test_only_the_scale_is_ever_written(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    before = await cluster.client.get(PATH)
    async with running_scaler(cluster.kubeconfig):
        cluster.load(80)
        await cluster.ready(2)
    after = await cluster.client.get(PATH)
    after["spec"]["replicas"] = before["spec"]["replicas"]
    assert after["spec"] == before["spec"]
    ours = {key: v for key, v in before["metadata"]["annotations"].items() if "gpu-" in key}
    assert {k: v for k, v in after["metadata"]["annotations"].items() if "gpu-" in k} == ours


async def test_a_wrong_annotation_scales_nothing_and_is_one_event_until_it_is_corrected(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment(target_duty_cycle="95"))
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(100)

        async def loops() -> float:
            metrics = await scaler.text("/metrics")
            line = next(x for x in metrics.splitlines() if "loop_duration_seconds_count" in x)
            return float(line.split()[-1])

        async def several_loops() -> bool:
            return await loops() >= 5

        await until(several_loops, what="five loops")
        events = await cluster.events()
        assert [(event["reason"], event.get("count")) for event in events] == [
            ("InvalidAnnotation", 1)
        ]
        for part in ("gpu-scaler/target-duty-cycle", '"95"', "below 90.91"):
            assert part in events[0]["message"]
        assert await cluster.replicas() == 1
        await cluster.annotate(target_duty_cycle="80")
        await cluster.ready(2)


async def test_pausing_and_dry_run_take_effect_while_it_runs(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment(paused="true"))
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(80)

        async def outcome(wanted: str) -> None:
            async def is_wanted() -> bool:
                decision = await scaler.decision("default", NAME)
                return decision.get("outcome") == wanted

            await until(is_wanted, what=f"outcome {wanted}")

        await outcome("paused")
        await cluster.annotate(paused=None, dry_run="true")
        await outcome("dry-run")
        decision = await scaler.decision("default", NAME)
        assert (decision["current_replicas"], decision["desired_replicas"]) == (1, 2)
        assert await cluster.replicas() == 1
        await cluster.annotate(dry_run=None)
        await cluster.ready(2)


async def test_one_annotation_on_the_lease_stops_all_scaling_at_once(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig, *LEASE_FLAGS) as scaler:

        async def decided(reason: str) -> bool:
            decision = await scaler.decision("default", NAME)
            return bool(decision.get("reason") == reason)

        await until(lambda: decided("TooFewReplicas"))
        await cluster.annotate_lease("true")
        cluster.load(80)
        await until(lambda: decided("ScalingStopped"))
        decision = await scaler.decision("default", NAME)
        assert (decision["outcome"], decision["desired_replicas"]) == ("paused", 1)
        assert "wanted 2 replicas" in decision["message"]
        # Renewals leave what a person wrote.
        renewed = (await cluster.client.get(LEASE))["spec"]["renewTime"]

        async def is_renewed() -> bool:
            return bool((await cluster.client.get(LEASE))["spec"]["renewTime"] != renewed)

        async def shows(line: str) -> bool:
            # The page is made again once a second.
            return line in await scaler.text("/metrics")

        await until(is_renewed)
        _, _, output = await run_program("status", f"--server={scaler.url}")
        assert "all scaling is stopped: Lease gpu-scaler has gpu-scaler/paused='true'" in output
        await until(lambda: shows("gpu_scaler_stopped 1.0"))
        assert await cluster.replicas() == 1
        await cluster.annotate_lease(None)
        await cluster.ready(2)
        await until(lambda: shows("gpu_scaler_stopped 0.0"))
    assert sum("Scaling is stopped" in line for line in scaler.log) == 1


async def test_a_dry_run_of_the_whole_scaler_changes_nothing(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig, "--dry-run") as scaler:
        cluster.load(80)

        async def would_scale() -> bool:
            decision = await scaler.decision("default", NAME)
            return bool(decision.get("reason") == "DryRun")

        await until(would_scale)
        assert await cluster.replicas() == 1


async def test_an_autoscaler_of_somebody_else_is_not_fought(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.client.post(
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            },
        },
    )
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(100)

        async def refused() -> dict[str, Any]:
            decision = await scaler.decision("default", NAME)
            return decision if decision.get("outcome") == "refused" else {}

        decision = await until(refused)
    assert decision["reason"] == "TargetedByOtherController"
    assert "HorizontalPodAutoscaler default/web" in decision["message"]
    assert await cluster.replicas() == 1


async def test_a_restart_never_scales_down_sooner_than_the_window(cluster):
    behavior = '{"scaleDown": {"stabilizationWindowSeconds": 300}}'
    await cluster.client.post(DEPLOYMENTS, deployment(replicas=3, behavior=behavior))
    await cluster.ready(3)
    async with running_scaler(cluster.kubeconfig) as scaler:

        async def stabilized() -> dict[str, Any]:
            decision = await scaler.decision("default", NAME)
            return decision if decision.get("proposed_replicas") is not None else {}

        decision = await until(stabilized)
    assert decision["proposed_replicas"] < 3
    assert decision["desired_replicas"] == 3
    assert "ScaleDownStabilized" in [limit["reason"] for limit in decision["limits"]]


async def test_an_exporter_whose_nvml_hangs_holds_and_says_why(cluster):
    behavior = '{"scaleDown": {"stabilizationWindowSeconds": 300}}'
    await cluster.client.post(DEPLOYMENTS, deployment(replicas=2, behavior=behavior))
    await cluster.ready(2)
    node = cluster.nodes.nodes["gpu-node-1"]
    async with running_scaler(cluster.kubeconfig) as scaler:

        async def measured() -> bool:
            decision = await scaler.decision("default", NAME)
            return bool(decision.get("proposed_replicas") is not None)

        async def held() -> dict[str, Any]:
            decision = await scaler.decision("default", NAME)
            # On a slow machine it may be held for another reason first.
            is_reported = "no duty_cycle for this pod" in decision.get("message", "")
            return decision if decision.get("outcome") == "held" and is_reported else {}

        await until(measured)
        node.driver.faults.hang("nvmlDeviceGetPowerUsage")
        decision = await until(held)
        node.driver.faults.release()
        await until(measured)
    assert decision["desired_replicas"] == 2
    assert (
        "the exporter of node gpu-node-1 reports no duty_cycle for this pod" in decision["message"]
    )
    assert re.search(r"its last readings are \d+ s old", decision["message"])


async def test_no_gpu_free_is_said_with_the_number_of_pods_that_wait(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment(replicas=8, max_replicas="20"))
    await cluster.ready(8)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(100)

        async def says_how_many_wait() -> bool:
            cluster.load(100)
            decision = await scaler.decision("default", NAME)
            reasons: dict[str, str] = {
                one["reason"]: one["message"] for one in decision.get("conditions", [])
            }
            waiting = await cluster.replicas() - 8
            text = reasons.get("InsufficientGPU", "")
            return waiting > 0 and text.startswith(f"{waiting} pod")

        await until(says_how_many_wait)


async def test_sigterm_ends_within_a_loop_and_gives_the_lease_back(cluster):
    async with running_scaler(cluster.kubeconfig, "--interval=10m") as scaler:

        async def leads() -> bool:
            return bool((await scaler.document("/api/v1/decisions")).get("leading"))

        await until(leads)
        scaler.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await scaler.process.wait() == 0
    lease = await cluster.client.get(LEASE)
    assert lease["spec"]["holderIdentity"] == ""


LEASE_FLAGS = ("--lease-duration=3s", "--renew-deadline=2s", "--retry-period=300ms")


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(signal.SIGKILL, id="killed: taken over when the lease has run out"),
        pytest.param(signal.SIGTERM, id="terminated: taken over at once"),
    ],
)
async def test_of_two_one_acts_and_the_other_takes_over(cluster, ending):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with (
        running_scaler(cluster.kubeconfig, "--identity=one", *LEASE_FLAGS) as one,
        running_scaler(cluster.kubeconfig, "--identity=two", *LEASE_FLAGS) as two,
    ):

        async def leaders() -> list[str]:
            documents = [await s.document("/api/v1/decisions") for s in (one, two)]
            return [doc["identity"] for doc in documents if doc.get("leading")]

        first = await until(leaders)
        assert len(first) == 1
        leader, other = (one, two) if first == ["one"] else (two, one)
        assert (await other.document("/api/v1/decisions"))["decisions"] == []
        await until(lambda: leader.decision("default", NAME))
        leader.process.send_signal(ending)
        await leader.process.wait()
        cluster.load(80)
        await cluster.ready(2)
        assert await leaders() == ["two" if leader is one else "one"]
