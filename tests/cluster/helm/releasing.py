# SPDX-License-Identifier: Apache-2.0
"""Helm on the real API server, and what there is on it before and after."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.chart import CHART, IMAGE
from tests.cluster.processes import free_ports
from tests.running import running_scaler

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane
    from tests.running import ScalerProcess

    JsonObject = dict[str, Any]

RELEASE: Final = "gpu-scaler"
HELM_SECONDS: Final = 60.0
NOT_OURS: Final = ("events", "events.events.k8s.io")
"""What is made all the time, and ends by itself."""


def kinds_of(plane: ControlPlane) -> str:
    """Return all kinds of objects that can be deleted, separated by commas."""
    asked = plane.kubectl("api-resources", "--verbs=list,delete", "--output=name")
    assert asked.returncode == 0, asked.stderr
    return ",".join(one for one in asked.stdout.split() if one not in NOT_OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A control plane that helm installs to; the methods block.

    `kinds` are all kinds of objects, separated by commas: the API server cannot list them while one
    of its groups is served by nobody.
    """

    plane: ControlPlane
    folder: Path
    kinds: str

    @property
    def environment(self) -> dict[str, str]:
        """Where helm keeps what it keeps."""
        kept = {
            f"HELM_{name}_HOME": str(self.folder / name) for name in ("CACHE", "CONFIG", "DATA")
        }
        return kept | {"KUBECACHEDIR": str(self.folder / "kube")}

    def helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run helm as the admin; its exit status is the caller's."""
        kept = {
            f"HELM_{name}_HOME": str(self.folder / name) for name in ("CACHE", "CONFIG", "DATA")
        }
        return subprocess.run(
            [self.plane.tool("helm"), *arguments, f"--kubeconfig={self.plane.admin}"],
            env={**os.environ, **kept, "KUBECACHEDIR": str(self.folder / "kube")},
            capture_output=True,
            text=True,
            timeout=HELM_SECONDS,
            check=False,
        )

    def install(self, *values: str, namespace: str = RELEASE) -> str:
        """Install the chart; return what helm prints."""
        return self._change("install", *values, "--create-namespace", namespace=namespace)

    def upgrade(self, *values: str, namespace: str = RELEASE) -> str:
        """Upgrade the release; return what helm prints."""
        return self._change("upgrade", *values, namespace=namespace)

    def uninstall(self, *, namespace: str = RELEASE) -> None:
        """Uninstall the release."""
        done = self.helm("uninstall", RELEASE, f"--namespace={namespace}")
        assert done.returncode == 0, done.stderr

    def objects(self) -> set[str]:
        """Return everything that there is, as `KIND NAMESPACE NAME`."""
        listed = self._kubectl("get", self.kinds, "--all-namespaces", "--output=json")
        return {
            f"{one['kind']} {one['metadata'].get('namespace', '-')} {one['metadata']['name']}"
            for one in json.loads(listed)["items"]
        }

    def get(self, kind: str, name: str, namespace: str = RELEASE) -> JsonObject:
        """Return one object."""
        found: JsonObject = json.loads(
            self._kubectl("get", kind, name, f"--namespace={namespace}", "--output=json")
        )
        return found

    def scaler(self, pod: JsonObject, identity: str) -> AbstractAsyncContextManager[ScalerProcess]:
        """Run what a pod's container `scaler` would run, under the pod's account."""
        spec = pod["spec"]
        (container,) = (one for one in spec["containers"] if one["name"] == "scaler")
        account = f"{pod['metadata']['namespace']}/{spec['serviceAccountName']}"
        (port,) = free_ports(1)
        listens = (f"--metrics-api.listen-address=127.0.0.1:{port}", f"--identity={identity}")
        return running_scaler(self.plane.kubeconfig_for(account), *container["args"], *listens)

    def pod(self, kind: str, name: str, namespace: str = RELEASE) -> JsonObject:
        """Return the pod that a workload would make."""
        workload = self.get(kind, name, namespace)
        spec = workload["spec"]["template"]["spec"]
        return {"metadata": {"namespace": namespace}, "spec": spec}

    def _change(self, verb: str, *values: str, namespace: str) -> str:
        flags = [f"--set={IMAGE}"]
        flags += [value if value.startswith("-") else f"--set={value}" for value in values]
        done = self.helm(verb, RELEASE, CHART, f"--namespace={namespace}", *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _kubectl(self, *arguments: str) -> str:
        done = self.plane.kubectl(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout
