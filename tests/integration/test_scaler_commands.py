# SPDX-License-Identifier: Apache-2.0
"""The commands beside a running scaler: --once, status, explain, why-not."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.running import run_program, running_scaler
from tests.scaled import DEPLOYMENTS, LEASE, NAME, deployment
from tests.waiting import until


async def test_once_does_one_loop_and_exits(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment(min_replicas="3"))
    await cluster.ready(1)
    status, _, err = await run_program("run", f"--kubeconfig={cluster.kubeconfig}", "--once")
    assert (status, await cluster.replicas()) == (0, 3), err
    assert (await cluster.client.get(LEASE))["spec"]["holderIdentity"] == ""


async def test_once_does_nothing_where_another_scaler_acts(cluster):
    async with running_scaler(cluster.kubeconfig, "--identity=one") as scaler:
        await until(lambda: any("Leading" in line for line in scaler.log))
        await cluster.client.post(DEPLOYMENTS, deployment(paused="true"))
        status, _, err = await run_program(
            "run", f"--kubeconfig={cluster.kubeconfig}", "--once", "--identity=two"
        )
    assert status == 1
    assert "one holds the Lease" in err


async def test_status_and_explain(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(30)

        async def measured() -> bool:
            decision = await scaler.decision("default", NAME)
            metrics = decision.get("metrics") or [{}]
            return bool(metrics[0].get("mean_milli") == 30_000)

        await until(measured)
        server = f"--server={scaler.url}"
        status, table, _ = await run_program("status", server)
        assert status == 0
        head, line = table.splitlines()
        assert " ".join(head.split()) == (
            "NAMESPACE NAME TARGETS MIN MAX REPLICAS DESIRED REASON DECIDED AGE"
        )
        assert line.split()[:5] == ["default", NAME, "30%/40%", "1", "10"]
        assert re.fullmatch(r"(\d+m)?\d+s|\d+m", line.split()[-1]), "the API server says when"
        for words in (
            [f"deploy/{NAME}"],
            [NAME, "-n", "default"],
            [f"default/{NAME}"],
            [NAME, "-A"],
        ):
            status, table, err = await run_program("status", *words, server)
            assert (status, len(table.splitlines()), err) == (0, 2, ""), words
        status, table, err = await run_program("status", NAME, "none", "-n", "default", server)
        assert (status, len(table.splitlines())) == (1, 2)
        assert "no decision for Deployment default/none" in err
        status, table, err = await run_program("why-not", NAME, "-n", "other", server)
        assert (status, table) == (1, "")
        assert f"no decision for Deployment other/{NAME}" in err
        status, text, _ = await run_program("explain", f"default/{NAME}", server)
        assert status == 0
        for part in ("target 40", "counted:", "= 30", "Limits applied:", "Conditions:"):
            assert part in text
        status, text, _ = await run_program("explain", f"default/{NAME}", "--history", server)
        assert (status, text.split()[:3]) == (0, ["BEGAN", "LASTED", "VALUES"])
        assert " 30%/40% " in text.splitlines()[-1]
        status, text, _ = await run_program("explain", f"default/{NAME}", "-o", "yaml", server)
        assert status == 0
        assert yaml.safe_load(text)["decision"]["current_replicas"] == 1
        status, _, err = await run_program("explain", "default/nothing", "--history", server)
        assert status == 1
        assert "no decision for Deployment default/nothing" in err
        status, _, err = await run_program("explain", "default/nothing", server)
        assert status == 1
        assert "no decision for Deployment default/nothing" in err


async def test_why_not_has_a_line_for_each_that_did_not_scale(cluster):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.client.post(DEPLOYMENTS, deployment(name="stopped", paused="true"))
    await cluster.client.post(DEPLOYMENTS, deployment(name="wrong", target_duty_cycle="95"))
    await cluster.client.post(DEPLOYMENTS, _deployment_that_never_serves("loading"))
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        cluster.load(40)

        async def all_decided() -> bool:
            # Earlier the average over the window is still on its way there.
            at_target = "duty_cycle 40/40" in (await scaler.decision("default", NAME)).get(
                "message", ""
            )
            others = [await scaler.decision("default", name) for name in ("wrong", "loading")]
            return at_target and all(others)

        await until(all_decided)
        server = f"--server={scaler.url}"
        status, table, _ = await run_program("why-not", "--namespace=default", server)
        assert status == 0
        head, *lines = table.splitlines()
        assert head.split() == ["NAMESPACE", "NAME", "REPLICAS", "OUTCOME", "REASON", "WHY"]
        message = {line.split()[1]: line.split(maxsplit=5)[2:] for line in lines}
        assert message.keys() == {NAME, "stopped", "wrong", "loading"}
        assert message[NAME][:3] == ["1", "unchanged", "DesiredWithinRange"]
        assert "duty_cycle 40/40" in message[NAME][3]
        assert message["stopped"][1:3] == ["paused", "Paused"]
        assert message["wrong"][1:3] == ["refused", "InvalidAnnotation"]
        assert "can never scale up" in message["wrong"][3]
        assert message["loading"][1:3] == ["held", "FailedGetPodsMetric"]
        _, text, _ = await run_program("why-not", "-o", "json", server)
        assert len(json.loads(text)["decisions"]) == 4
        metrics = await scaler.text("/metrics")
        assert 'gpu_scaler_held_total{reason="FailedGetPodsMetric"}' in metrics


def _deployment_that_never_serves(name: str) -> dict[str, Any]:
    body = deployment(name=name)
    body["spec"]["template"]["metadata"]["annotations"]["simulator/startup-seconds"] = "86400"
    return body


async def test_status_of_a_scaler_that_is_not_there():
    status, _, err = await run_program("status", "--server=http://127.0.0.1:9")
    assert status == 1
    assert "http://127.0.0.1:9" in err
