# SPDX-License-Identifier: Apache-2.0
"""Whatever the chart is told, the API server takes it, and the namespaces admit its pods."""

from __future__ import annotations

import json

import pytest

from tests.chart import objects
from tests.chart.cases import ACCEPTED_EVERYWHERE

pytestmark = pytest.mark.needs("helm")
NAMESPACES = {
    "gpu-exporter": "privileged",
    "gpu-scaler": "restricted",
    "team-a": "baseline",
    "team-b": "baseline",
}
ACCOUNTS = (
    *(("gpu-scaler", name) for name in ("gpu-scaler", "gpu-scaler-gpus", "team-a-gpus", "scaling")),
    *(("gpu-exporter", name) for name in ("gpu-exporter", "exporting")),
    *(("gpu-exporter", f"{name}-exporter") for name in ("gpu-scaler-gpus", "team-a-gpus")),
)
NEEDED = (
    {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "nvidia"}
    | {"metadata": {"name": "nvidia"}},
    {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1}
    | {"metadata": {"name": "important"}},
)


@pytest.fixture(scope="module")
def prepared(fresh):
    """The namespaces, and what pods name by values of the user's."""
    for name, level in NAMESPACES.items():
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        fresh.plane.apply(json.dumps({**namespace, "metadata": {"name": name, "labels": labels}}))
    for one in NEEDED:
        fresh.plane.apply(json.dumps(one))
    for where, name in ACCOUNTS:
        account = {"apiVersion": "v1", "kind": "ServiceAccount"}
        metadata = {"name": name, "namespace": where}
        fresh.plane.apply(json.dumps({**account, "metadata": metadata}))
    yield fresh.plane
    fresh.plane.kubectl("delete", "namespace", *NAMESPACES)
    for kind, name in (("runtimeclass", "nvidia"), ("priorityclass", "important")):
        fresh.plane.kubectl("delete", kind, name)


def pods(found):
    for one in found:
        template = one.get("spec", {}).get("template")
        if template is not None:
            namespace = one["metadata"]["namespace"]
            metadata = {**template["metadata"], "name": "tried", "namespace": namespace}
            yield {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": template["spec"],
            }


@pytest.mark.parametrize("case", ACCEPTED_EVERYWHERE.values(), ids=ACCEPTED_EVERYWHERE)
def test_the_api_server_takes_it_without_a_warning(prepared, case):
    found = objects(*case)
    for one in (*found, *pods(found)):
        verb = "create" if one["kind"] == "Pod" else "apply"
        flags = () if one["kind"] == "Pod" else ("--server-side", "--force-conflicts")
        done = prepared.kubectl(
            *(verb, *flags, "--dry-run=server", "--validate=strict", "-f", "-"),
            stdin=json.dumps(one),
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
