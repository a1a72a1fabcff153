# SPDX-License-Identifier: Apache-2.0
"""Every shipped manifest on the real API server, and the Pod Security of the namespaces."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from tests.chart import CHART
from tests.cluster.conftest import ROOT

CONFIGURATIONS = {
    "prometheus-adapter-rules.yaml",
    "prometheus-operator-rules.yaml",
    "prometheus-rules.yaml",
    "prometheus-scrape.yaml",
}
"""Files of other programs, tested with those."""
FILES = sorted((ROOT / "daemonset").glob("**/*.yaml"))
MANIFESTS = [
    path for path in FILES if path.name not in CONFIGURATIONS and CHART not in path.parents
]


def documents(name: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all((ROOT / "daemonset" / name).read_text())]


def pod_of(name: str, kind: str, namespace: str) -> dict[str, Any]:
    workload = next(one for one in documents(name) if one["kind"] == kind)
    template = workload["spec"]["template"]
    metadata = {**template["metadata"], "name": "tried", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def create(control_plane, manifest):
    return control_plane.kubectl(
        *("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"),
        stdin=json.dumps(manifest),
    )


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_accepted_without_a_warning(installed, path):
    answer = installed.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", path)
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert len(answer.stdout.splitlines()) == len(documents(path.name))


def test_validation_is_strict(installed):
    manifest = documents("example.yaml")[0]
    manifest["spec"]["replica"] = 3
    answer = create(installed, manifest)
    assert answer.returncode != 0
    assert 'unknown field "spec.replica"' in answer.stderr


def test_the_namespace_of_the_scaler_admits_the_scaler(installed):
    answer = create(installed, pod_of("scaler.yaml", "Deployment", "gpu-scaler"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


def test_the_namespace_of_the_exporter_admits_the_exporter(installed):
    answer = create(installed, pod_of("exporter.yaml", "DaemonSet", "gpu-exporter"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(
            {"securityContext": {"privileged": True}}, "privileged", id="a privileged container"
        ),
        pytest.param(
            {"securityContext": {"runAsUser": 0}}, "runAsUser=0", id="a container that is root"
        ),
        pytest.param(
            {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
            "unrestricted capabilities",
            id="a capability",
        ),
    ],
)
def test_the_namespace_of_the_scaler_refuses_more_than_restricted(installed, change, complaint):
    pod = copy.deepcopy(pod_of("scaler.yaml", "Deployment", "gpu-scaler"))
    pod["spec"]["containers"][0] |= change
    answer = create(installed, pod)
    assert answer.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in answer.stderr
    assert complaint in answer.stderr


def test_the_namespace_of_the_scaler_refuses_the_exporter(installed):
    # Why the exporter has a namespace of its own.
    pod = pod_of("exporter.yaml", "DaemonSet", "gpu-scaler")
    pod["spec"].pop("serviceAccountName")
    answer = create(installed, pod)
    assert answer.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in answer.stderr
    assert "hostPath" in answer.stderr
