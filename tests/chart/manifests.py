# SPDX-License-Identifier: Apache-2.0
"""The files of daemonset/ that are the chart's output: `make manifests` writes them.

Each row of the table is a file with the values that it is rendered with.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final

from tests import needs
from tests.chart import CHART, rendered

FOLDER: Final = CHART.parent
ORIGIN: Final = "Rendered from daemonset/chart by `make manifests`: change it there."
ANY_NAMESPACE: Final = "whichever-is-applied-to"
"""Stands for the namespace that `kubectl apply --namespace` names: no file has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A file: what it says of itself, the values, and the templates if not all of them."""

    name: str
    about: str = ""
    values: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def text(self) -> str:
        """Render it; raises AssertionError if helm refuses."""
        made = rendered(
            *(f"--set={value}" for value in self.values),
            *(f"--show-only=templates/{template}.yaml" for template in self.templates),
        )
        body = re.sub(r"^# Source: .*\n", "", made, flags=re.M)
        # What kubectl applies is not managed by Helm.
        body = re.sub(
            r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", body, flags=re.M
        )
        body = body.replace(f"  namespace: {ANY_NAMESPACE}\n", "")
        lines = [*self.about.strip().splitlines(), ORIGIN]
        return "".join(f"# {line}".rstrip() + "\n" for line in lines) + body


MANIFESTS: Final = (
    Manifest(
        name="install.yaml",
        about="""
The exporter and the scaler, for clusters where the NVIDIA runtime is the default one:

  kubectl apply --server-side -f daemonset/install.yaml
""",
        values=("createNamespace=true",),
    ),
    Manifest(
        name="exporter.yaml",
        about="""
The exporter alone: one pod on each GPU node, without API token and capability, its root read-only.
Where the NVIDIA runtime is not the default one, add `runtimeClassName: nvidia` to the pod's spec.
""",
        values=("scaler.enabled=false",),
    ),
    Manifest(
        name="scaler.yaml",
        about="The scaler alone: two replicas of which one acts, with the rights that it needs.",
        values=("exporter.enabled=false", "createNamespace=true"),
    ),
    Manifest(
        name="custom-metrics.yaml",
        about="""
What the scaler needs to serve custom.metrics.k8s.io (`gpu-scaler run --metrics-api`), beside
scaler.yaml. The APIServices are made by the scaler itself, which leaves those of somebody else
alone; they belong to the ClusterRole below and go with it, and the last replica that ends takes
them along, since no namespace can be deleted while they lead to nobody:

  kubectl apply --server-side -f daemonset/custom-metrics.yaml
  kubectl -n gpu-scaler set env deployment/gpu-scaler GPU_SCALER_METRICS_API=true

  kubectl -n gpu-scaler set env deployment/gpu-scaler GPU_SCALER_METRICS_API-
  kubectl delete -f daemonset/custom-metrics.yaml
""",
        values=("scaler.metricsApi.enabled=true",),
        templates=("metrics-api",),
    ),
    Manifest(
        name="exporter-dra-role.yaml",
        about="""
For `gpu-exporter --dra`. The DaemonSet's pods need their token then:
automountServiceAccountToken: true.
""",
        values=("exporter.dra=true",),
        templates=("exporter-dra-role",),
    ),
    Manifest(
        name="exporter-pod-labels-role.yaml",
        about="""
For `gpu-exporter --pod-labels REGEX`. Bind the role by RoleBindings instead where the right to get
every pod is too much. The DaemonSet's pods need their token then:
automountServiceAccountToken: true.
""",
        values=("exporter.publishPodLabels=.+",),
        templates=("exporter-pod-labels-role",),
    ),
    Manifest(
        name="scaler-namespace-role.yaml",
        about="""
What a scaler needs in one of its --namespaces, instead of the ClusterRole of scaler.yaml:

  kubectl delete clusterrole,clusterrolebinding gpu-scaler
  kubectl apply -n NAMESPACE -f daemonset/scaler-namespace-role.yaml
  kubectl apply --server-side -f daemonset/scaler-exporters-role.yaml
""",
        values=(f"scaler.namespaces={{{ANY_NAMESPACE}}}",),
        templates=("scaler-namespace-role",),
    ),
    Manifest(
        name="scaler-exporters-role.yaml",
        values=(f"scaler.namespaces={{{ANY_NAMESPACE}}}",),
        templates=("scaler-exporters-role",),
    ),
)


def main() -> int:
    """Write all of them."""
    if not needs.is_there("helm"):
        sys.stderr.write(f"helm is not built yet: {needs.remedy('helm')}\n")
        return 1
    for manifest in MANIFESTS:
        (FOLDER / manifest.name).write_text(manifest.text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
