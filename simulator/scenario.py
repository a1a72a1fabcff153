# SPDX-License-Identifier: Apache-2.0
"""Pure: the demo's two Deployments, one that serves on GPUs and one that makes the load."""

from __future__ import annotations

import json
from typing import Any, Final

from simulator.podstatus import GPU_MEMORY_ANNOTATION, STARTUP_ANNOTATION
from simulator.workload import GPU_SECONDS_ANNOTATION, OFFERED_ANNOTATION

NAMESPACE: Final = "default"
NAME_SERVING: Final = "fast-style-transfer-serving"
NAME_PRESS: Final = "fast-style-transfer-press"
TARGET_PERCENT: Final = 40
MAX_REPLICAS: Final = 10
REQUESTS_PER_SECOND: Final = 21
GPU_SECONDS_PER_REQUEST: Final = 0.03
GPU_MEMORY_BYTES: Final = 6 << 30

BEHAVIOR: Final = {
    "scaleUp": {
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 5},
            {"type": "Pods", "value": 4, "periodSeconds": 5},
        ]
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 8,
        "policies": [{"type": "Percent", "value": 60, "periodSeconds": 3}],
    },
}


def serving_deployment() -> dict[str, Any]:
    """Return the Deployment that is scaled: one GPU per pod, windows short enough to watch."""
    pod_annotations = {
        GPU_SECONDS_ANNOTATION: str(GPU_SECONDS_PER_REQUEST),
        GPU_MEMORY_ANNOTATION: str(GPU_MEMORY_BYTES),
        STARTUP_ANNOTATION: "2",
    }
    return deployment(
        NAME_SERVING,
        replicas=1,
        annotations=scaled(MAX_REPLICAS, "target-duty-cycle", TARGET_PERCENT),
        pod_annotations=pod_annotations,
        limits={"nvidia.com/gpu": "1"},
    )


def press_deployment() -> dict[str, Any]:
    """Return the Deployment that makes the load."""
    pod_annotations = {
        OFFERED_ANNOTATION: str(REQUESTS_PER_SECOND),
        STARTUP_ANNOTATION: "0.5",
    }
    return deployment(
        NAME_PRESS, replicas=0, annotations={}, pod_annotations=pod_annotations, limits={}
    )


def scaled(max_replicas: int, target: str, value: int) -> dict[str, str]:
    """Return the annotations of a Deployment that scales on one target, fast enough to watch."""
    return {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/max-replicas": str(max_replicas),
        f"gpu-scaler/{target}": str(value),
        "gpu-scaler/ready-age": "3s",
        "gpu-scaler/behavior": json.dumps(BEHAVIOR),
    }


def deployment(
    name: str,
    *,
    replicas: int,
    annotations: dict[str, str],
    pod_annotations: dict[str, str],
    limits: dict[str, str],
) -> dict[str, Any]:
    """Return a Deployment of one container."""
    labels = {"app": name}
    container = {
        "name": "main",
        "image": f"example.com/{name}:1",
        "resources": {"limits": limits},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": pod_annotations},
                "spec": {"containers": [container]},
            },
        },
    }
