# SPDX-License-Identifier: Apache-2.0
"""The commands and the configuration of docs/monitoring.md, tried as they stand there."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests import dashboards
from tests.cluster import tools
from tests.cluster.conftest import ROOT
from tests.pages.markdown import page
from tests.pages.reading import read_through, run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane
    from tests.pages.reading import Reading

NAMESPACE: Final = "monitoring"
# The part of the operator's definition that a rule needs to be accepted.
DEFINITION: Final = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PrometheusRule, plural: prometheusrules, singular: prometheusrule}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                groups:
                  type: array
                  items:
                    type: object
                    required: [name]
                    properties:
                      name: {type: string}
                      rules:
                        type: array
                        items:
                          type: object
                          required: [expr]
                          properties:
                            alert: {type: string}
                            record: {type: string}
                            expr: {type: string}
                            for: {type: string}
                            labels: {type: object, additionalProperties: {type: string}}
                            annotations: {type: object, additionalProperties: {type: string}}
"""


@pytest.fixture
async def plane(installed: ControlPlane) -> AsyncIterator[ControlPlane]:
    """The control plane with the namespace of the page, taken away afterwards."""

    def is_made() -> bool:
        # One of that name may still be going.
        return bool(installed.kubectl("create", "namespace", NAMESPACE).stdout)

    await until(is_made, what=f"namespace {NAMESPACE} is made")
    yield installed
    done = installed.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")
    assert done.returncode == 0, done.stderr


def follow(plane: ControlPlane, section: Reading, bin_folder: Path) -> None:
    (bin_folder / "kubectl").symlink_to(plane.tool("kubectl"))
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "KUBECONFIG": str(plane.admin),
    }
    for block in section.take():
        run(block, ROOT, environment)


async def test_the_dashboards_become_a_configmap_that_the_sidecar_finds(plane, tmp_path):
    with read_through("docs/monitoring.md", "Dashboards") as section:
        follow(plane, section, tmp_path)
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=grafana_dashboard%3D1"
    (found,) = plane.request("GET", path)["items"]
    assert sorted(found["data"]) == [f"{uid}.json" for uid in sorted(dashboards.DASHBOARDS)]


async def test_the_operators_rules_are_applied(plane, tmp_path):
    plane.apply(DEFINITION)
    try:
        resource = "/apis/monitoring.coreos.com/v1"

        def is_served() -> bool:
            return bool(plane.kubectl("get", "--raw", f"{resource}/prometheusrules").stdout)

        await until(is_served, what="PrometheusRules are served")
        with read_through("docs/monitoring.md", "Rules") as section:
            follow(plane, section, tmp_path)
        rules = yaml.safe_load((ROOT / "daemonset" / "prometheus-rules.yaml").read_text())
        stored: dict[str, Any] = plane.request(
            "GET", f"{resource}/namespaces/{NAMESPACE}/prometheusrules/gpu-scaler"
        )
        assert stored["spec"]["groups"] == rules["groups"]
    finally:
        plane.kubectl("delete", "-f", "-", stdin=DEFINITION)


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path):
    (configuration,) = (
        block.text
        for block in page("docs/monitoring.md").blocks
        if block.language == "yaml" and "Rules" in block.sections
    )
    for file in (ROOT / "daemonset").glob("prometheus-*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    file = tmp_path / "prometheus.yml"
    file.write_text(configuration)
    program = tools.find("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "check", "config", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    groups = yaml.safe_load((tmp_path / "prometheus-rules.yaml").read_text())["groups"]
    assert f"{sum(len(group['rules']) for group in groups)} rules found" in done.stdout
