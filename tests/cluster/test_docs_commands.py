# SPDX-License-Identifier: Apache-2.0
"""Commands of the pages on a real API server, where no test of their own goes through the page."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial

import pytest

from scaler.decision.model import Outcome
from tests.cluster.conftest import ROOT
from tests.pages.files import deployment
from tests.pages.markdown import page
from tests.pages.reading import read_through, run
from tests.running import running_scaler
from tests.waiting import until

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
ACCOUNT = "gpu-scaler/gpu-scaler"
SCALER = "/apis/apps/v1/namespaces/gpu-scaler/deployments/gpu-scaler"
EXPORTER = "/apis/apps/v1/namespaces/gpu-exporter/daemonsets/gpu-exporter"
MEDIA = "{apiVersion: v1, kind: Namespace, metadata: {name: media}}"
SCALED_OBJECTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}
"""As much of KEDA as the scaler looks at."""


@pytest.fixture
def reader(installed, tmp_path):
    """Runs a block as the admin, in a folder with what is shipped."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(installed.tool("kubectl"))
    (tmp_path / "daemonset").symlink_to(ROOT / "daemonset")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(installed.admin),
    }

    async def ran(block):
        return await asyncio.to_thread(run, block, tmp_path, environment)

    return ran


async def test_everything_is_stopped_and_goes_on(reader, installed, admin):
    kubeconfig = installed.kubeconfig_for(ACCOUNT)
    async with running_scaler(kubeconfig) as scaler:

        async def stopped(was_stopped):
            document = await scaler.document("/api/v1/decisions")
            return bool(document.get("stopped")) is was_stopped

        await until(
            lambda: any("Leading" in line for line in scaler.log),
            what="the scaler leads",
        )
        with read_through("docs/annotations.md") as here:
            (block,) = here.take()
        stop, go_on = (replace(block, text=line) for line in block.text.splitlines())
        for command, was_stopped in ((stop, True), (go_on, False)):
            await reader(command)
            await until(partial(stopped, was_stopped), what="the scaler knows")
    await admin.delete(LEASE)


async def test_the_scaler_alone_on_dcgm_exporter(reader, admin):
    with read_through("docs/from-dcgm-exporter.md") as pages:
        for block in pages.take():
            await reader(block)
    container = (await admin.get(SCALER))["spec"]["template"]["spec"]["containers"][0]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given == {
        "GPU_SCALER_SOURCE": "prometheus",
        "GPU_SCALER_PROMETHEUS_URL": "http://prometheus.monitoring:9090",
        "GPU_SCALER_PROMETHEUS_METRICS": "dcgm-exported",
        "GPU_SCALER_PROMETHEUS_EXPORTERS_MATCHER": 'job="nvidia-dcgm-exporter"',
    }
    await admin.delete(SCALER)


async def test_claimed_gpus_are_switched_on(reader, admin, installed):
    installed.apply(ROOT / "daemonset" / "exporter.yaml")
    with read_through("docs/exporter.md", "GPUs by dynamic resource allocation (DRA)") as pages:
        for block in pages.take():
            await reader(block)
    spec = (await admin.get(EXPORTER))["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is True
    assert spec["containers"][0]["command"] == ["gpu-exporter", "--dra"]
    assert spec["containers"][0]["volumeMounts"]
    await admin.delete(EXPORTER)
    installed.kubectl("delete", "-f", ROOT / "daemonset" / "exporter-dra-role.yaml")


async def test_what_to_do_at_an_alert(reader, installed, admin):
    installed.apply(ROOT / "daemonset" / "scaler.yaml")
    async with running_scaler(installed.kubeconfig_for(ACCOUNT)) as scaler:
        await until(
            lambda: any("Leading" in line for line in scaler.log),
            what="the scaler leads",
        )
        with read_through("docs/monitoring.md", "Alerts") as pages:
            for block in pages.take():
                named = block.text.replace(" NAME", " gpu-scaler --namespace=gpu-scaler")
                await reader(replace(block, text=named))
    assert (await admin.get(SCALER))["spec"]["replicas"] == 1
    for gone in (SCALER, LEASE):
        await admin.delete(gone)


async def test_from_keda(reader, installed, admin):
    (before,) = (one for one in page("docs/from-keda.md").blocks if "Before" in one.sections)
    after = next(one for one in page("docs/from-keda.md").blocks if "After" in one.sections)
    plain = deployment(after)
    annotations = plain["metadata"].pop("annotations")
    await admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", SCALED_OBJECTS)
    installed.apply(MEDIA)
    await admin.post("/apis/apps/v1/namespaces/media/deployments", plain)

    async def is_known():
        return installed.kubectl("apply", "-f", "-", stdin=before.text).returncode == 0

    await until(is_known, what="the API server knows ScaledObjects")
    async with running_scaler(installed.kubeconfig_for(ACCOUNT)) as scaler:

        async def outcome(wanted):
            decision = await scaler.decision("media", "transcriber")
            return decision.get("outcome") == wanted

        with read_through("docs/from-keda.md") as pages:
            (block,) = pages.take()
        annotate, delete = block.text.splitlines()
        await reader(replace(block, text=annotate))
        written = (await admin.get("/apis/apps/v1/namespaces/media/deployments/transcriber"))[
            "metadata"
        ]["annotations"]
        ours = {name: value for name, value in written.items() if name.startswith("gpu-scaler/")}
        assert ours.items() <= annotations.items()
        await until(
            lambda: outcome(Outcome.REFUSED), deadline_seconds=90, what="the scaler refuses it"
        )
        decision = await scaler.decision("media", "transcriber")
        assert decision["reason"] == "TargetedByOtherController"
        await reader(replace(block, text=delete))
        await until(lambda: outcome(Outcome.HELD), what="the scaler takes it over")
    await admin.delete(LEASE)
    await admin.delete("/apis/apps/v1/namespaces/media/deployments/transcriber")
    await admin.delete(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh"
    )
