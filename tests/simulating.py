# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler simulate` over the past of a real Prometheus."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scaler.cli import simulate_command as command
from scaler.cli.parser import build_parser
from scaler.cli.recorded_deployments import NoHistoryError
from scaler.cli.simulate import parse_simulate_arguments
from scaler.kube.client import KubeClient
from scaler.readings.prometheus.ranges import PastError
from simulator.apiserver import running_apiserver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.chain.prometheus import Prometheus

HOURS = 6


async def simulate(prometheus: Prometheus, *flags: str, config: str = "/nowhere") -> Any:
    """Return the documents by name, and what was said; what the command would end with is it."""
    given = ["simulate", f"--prometheus.url={prometheus.url}", f"--since={HOURS}h"]
    parsed = build_parser({}, "0").parse_args([*given, f"--kubeconfig={config}", *flags])
    settings = replace(
        parse_simulate_arguments(parsed, default_namespace=lambda: "default"), output="json"
    )
    try:
        found = await command.simulate(settings)
    except (NoHistoryError, PastError) as error:
        return {}, str(error)
    documents = json.loads(command.shown(settings, found.simulations))["simulations"]
    remarks = "; ".join((*found.notes, *found.problems))
    return {one["name"]: one for one in documents}, remarks


def rows(document: dict[str, Any]) -> list[tuple[str, float | None]]:
    return [(one["policy"], one["target_milli"]) for one in document["results"]]


async def simulate_annotated(
    prometheus: Prometheus, folder: Path, name: str, *flags: str, **annotations: str
) -> tuple[dict[str, Any], str]:
    """Simulate the Deployments that are opted in: this one; another one is not."""
    texts = {f"gpu-scaler/{key.replace('_', '-')}": text for key, text in annotations.items()}
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post("/api/v1/namespaces", {"metadata": {"name": "prod"}})
        for one, given in ((name, {"gpu-scaler/enabled": "true", **texts}), ("other", {})):
            await client.post(
                "/apis/apps/v1/namespaces/prod/deployments",
                {
                    "metadata": {"name": one, "annotations": given},
                    "spec": {
                        "replicas": 0,
                        "selector": {"matchLabels": {"app": one}},
                        "template": {
                            "metadata": {"labels": {"app": one}},
                            "spec": {"containers": [{"name": "c", "image": "i"}]},
                        },
                    },
                },
            )
        config = api.write_kubeconfig(folder / "kubeconfig")
        found, remarks = await simulate(prometheus, *flags, config=str(config))
    return found.get(name, {}), remarks
