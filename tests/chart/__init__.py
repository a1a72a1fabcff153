# SPDX-License-Identifier: Apache-2.0
"""The Helm chart: rendered by the real helm, looked at as objects."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.cluster import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    JsonObject = dict[str, Any]

CHART: Final = Path(__file__).parents[2] / "daemonset" / "chart"
PRESETS: Final = tuple(sorted((CHART / "presets").glob("*.yaml")))
NAMESPACE: Final = "gpu-scaler"
# A helm that is built from its module does not know which Kubernetes it is of.
KUBERNETES: Final = f"--kube-version={tools.BY_NAME['kube-apiserver'].version}"
IMAGE: Final = "image.repository=registry.example.com/gpu-scaler"
"""Without it, the chart refuses to render: no image is published."""
HELM_SECONDS: Final = 90.0


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm; its exit status is the caller's. Raises FileNotFoundError if it is not built."""
    return subprocess.run(
        [tools.path_of("helm"), *arguments],
        capture_output=True,
        text=True,
        timeout=HELM_SECONDS,
        check=False,
    )


def template(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    """Render the chart as a release in the namespace gpu-scaler; no cluster is asked."""
    return template_without_image(f"--set={IMAGE}", *flags)


def template_without_image(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    """Render the chart with these values alone."""
    return helm("template", "gpu-scaler", CHART, f"--namespace={NAMESPACE}", KUBERNETES, *flags)


@cache
def rendered(*flags: str | Path) -> str:
    """Return the manifests; raises AssertionError with helm's words if there are none."""
    done = template(*flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*flags: str | Path) -> list[JsonObject]:
    """Return the objects that the chart makes of these flags."""
    return [one for one in yaml.safe_load_all(rendered(*flags)) if one]


def only(found: Sequence[JsonObject], kind: str, name: str) -> JsonObject:
    """Return the one object of a kind and name."""
    (one,) = (o for o in found if o["kind"] == kind and o["metadata"]["name"] == name)
    return one


def pod_specs(found: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the specs of all pods that the objects would make."""
    return [one["spec"]["template"]["spec"] for one in found if "template" in one.get("spec", {})]
