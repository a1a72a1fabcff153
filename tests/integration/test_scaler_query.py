# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler/query` from the annotation to the replicas: the scaler as a process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.apiserver.resources import Resource
from tests.answering import Answers
from tests.running import run_program, running_scaler
from tests.scaled import DEPLOYMENTS
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ZEROS = "/api/v1/namespaces/gpu-scaler/configmaps/gpu-scaler-zeros"
IMMEDIATE = '{"scaleDown": {"stabilizationWindowSeconds": 0}}'


class Bed:
    """An embedded API without nodes, and a Prometheus: the query is about no pod."""

    def __init__(self, client: KubeClient, kubeconfig: Path, url: str, answers: Answers) -> None:
        self.client = client
        self.kubeconfig = kubeconfig
        self.answers = answers
        self.beside = (f"--prometheus.url={url}",)
        self.flags = ("--source=prometheus", *self.beside)

    async def add(
        self, name: str, query: str, *, path: str = DEPLOYMENTS, **annotations: str
    ) -> None:
        labels = {"app": name}
        named = {"enabled": "true", "max-replicas": "10", "target-query": "10", "query": query}
        named |= {key.replace("_", "-"): value for key, value in annotations.items()}
        await self.client.post(
            path,
            {
                "metadata": {
                    "name": name,
                    "annotations": {f"gpu-scaler/{key}": value for key, value in named.items()},
                },
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "main", "image": "example.com/x:1"}]},
                    },
                },
            },
        )

    async def replicas_become(self, name: str, count: int, *, path: str = DEPLOYMENTS) -> None:
        async def are() -> bool:
            found = await self.client.get(f"{path}/{name}")
            return bool(found["spec"]["replicas"] == count)

        await until(are, what=f"{name} has {count} replicas")


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with _bed(tmp_path) as made:
        yield made


@asynccontextmanager
async def _bed(folder: Path, *more: Resource) -> AsyncIterator[Bed]:
    answers = Answers()
    async with (
        running_apiserver(extra_resources=more) as api,
        KubeClient(api.url) as client,
        serving(answers.answer) as url,
    ):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-scaler"}})
        yield Bed(client, api.write_kubeconfig(folder / "kubeconfig"), url, answers)


async def test_the_value_is_shared_out_among_pods_down_to_none_and_back(bed):
    bed.answers.totals["sum(queue)"] = 35
    await bed.add("web", "sum(queue)", min_replicas="0", cooldown="0s", behavior=IMMEDIATE)
    async with running_scaler(bed.kubeconfig, *bed.flags) as scaler:
        await bed.replicas_become("web", 4)
        _, output, _ = await run_program("explain", "default/web", f"--server={scaler.url}")
        assert "query:     sum(queue)" in output
        bed.answers.totals["sum(queue)"] = 0
        await bed.replicas_become("web", 0)
        bed.answers.totals["sum(queue)"] = 12
        await bed.replicas_become("web", 2)


async def test_queries_are_answered_beside_the_exporters_to_none_and_back(bed):
    bed.answers.totals["sum(queue)"] = 35
    await bed.add("web", "sum(queue)", min_replicas="0", cooldown="0s", behavior=IMMEDIATE)
    async with running_scaler(bed.kubeconfig, *bed.beside):
        await bed.replicas_become("web", 4)
        bed.answers.totals["sum(queue)"] = 0
        await bed.replicas_become("web", 0)
        bed.answers.totals["sum(queue)"] = 12
        await bed.replicas_become("web", 2)


async def test_less_than_a_thousandth_is_above_a_threshold_of_zero(bed):
    bed.answers.totals["sum(queue)"] = 0
    await bed.add("web", "sum(queue)", min_replicas="0", cooldown="0s", behavior=IMMEDIATE)
    async with running_scaler(bed.kubeconfig, *bed.flags):
        await bed.replicas_become("web", 0)
        bed.answers.totals["sum(queue)"] = 0.0009
        await bed.replicas_become("web", 1)


async def test_a_scaler_that_is_killed_asleep_wakes_what_it_put_to_sleep_when_it_is_back(bed):
    bed.answers.totals["sum(queue)"] = 3
    zero = {"min_replicas": "0", "activation_threshold": "5", "cooldown": "1s"}
    await bed.add("web", "sum(queue)", behavior=IMMEDIATE, **zero)
    await bed.add("human", "sum(queue)", behavior=IMMEDIATE, **zero)
    await bed.client.patch(f"{DEPLOYMENTS}/human/scale", {"spec": {"replicas": 0}})
    flags = (*bed.flags, "--lease-duration=2s", "--renew-deadline=1500ms", "--retry-period=500ms")
    async with running_scaler(bed.kubeconfig, *flags) as scaler:
        await bed.replicas_become("web", 0)
        scaler.process.kill()
    written = await bed.client.get(ZEROS)
    assert list(written["data"].values()) == ["default/web"]
    annotations = (await bed.client.get(f"{DEPLOYMENTS}/web"))["metadata"]["annotations"]
    assert not [name for name in annotations if "zero" in name], "not on the Deployment"
    bed.answers.totals["sum(queue)"] = 12
    async with running_scaler(bed.kubeconfig, *flags, "--identity=next") as scaler:
        await bed.replicas_become("web", 2)
        assert (await scaler.decision("default", "human"))["reason"] == "ScalingDisabled"

        async def struck_out() -> bool:
            return not (await bed.client.get(ZEROS)).get("data")

        await until(struck_out, what="no zero is written down any more")


async def test_other_kinds_are_scaled_by_their_scale_and_explained_by_their_name(tmp_path):
    scale = frozenset({"scale", "status"})
    kinds = [
        Resource(group="apps", version="v1", plural="statefulsets", kind="S", subresources=scale),
        Resource(group="example.com", version="v1", plural="servers", kind="Z", subresources=scale),
    ]
    names = [f"{kind.plural}.{kind.group}" for kind in kinds]
    async with _bed(tmp_path, *kinds) as bed:
        bed.answers.totals["sum(queue)"] = 35
        paths = [f"/apis/{one.group}/v1/namespaces/default/{one.plural}" for one in kinds]
        for path in (*paths, DEPLOYMENTS):
            await bed.add("web", "sum(queue)", path=path)
        async with running_scaler(
            bed.kubeconfig, *bed.flags, f"--kinds={','.join(names)}"
        ) as scaler:
            for path in paths:
                await bed.replicas_become("web", 4, path=path)
            for name in names:
                _, output, _ = await run_program(
                    "explain", f"default/{name}:web", f"--server={scaler.url}"
                )
                assert output.startswith(f"{name} default/web, decided")
            assert "web" not in await scaler.decision("default", "web"), "not among --kinds"
        await bed.replicas_become("web", 1)


async def test_what_prometheus_says_of_a_wrong_query_holds_its_deployment_alone(bed):
    bed.answers.totals["good"] = 20
    await bed.add("bad", "sum(")
    await bed.add("web", "good")
    async with running_scaler(bed.kubeconfig, *bed.flags) as scaler:
        await bed.replicas_become("web", 2)

        async def held() -> dict[str, Any]:
            decision = await scaler.decision("default", "bad")
            return decision if decision.get("outcome") == "held" else {}

        decision = await until(held)
    assert (decision["reason"], decision["desired_replicas"]) == ("FailedGetExternalMetric", 1)
    assert "HTTP status 400: bad_data: cannot parse sum(" in decision["message"]


async def test_without_a_prometheus_it_is_a_wrong_annotation(bed):
    bed.answers.totals["good"] = 20
    await bed.add("web", "good")
    async with running_scaler(bed.kubeconfig) as scaler:

        async def refused() -> dict[str, Any]:
            decision = await scaler.decision("default", "web")
            return decision if decision.get("outcome") == "refused" else {}

        decision = await until(refused)
    assert decision["reason"] == "InvalidAnnotation"
    assert (
        'gpu-scaler/query: "good" requires Prometheus; start gpu-scaler with --prometheus.url'
        in decision["message"]
    )
    assert not bed.answers.asked
