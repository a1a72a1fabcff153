# SPDX-License-Identifier: Apache-2.0
"""The scale subresource: `autoscaling/v1` Scale over Deployments and ReplicaSets. Pure."""

from __future__ import annotations

from typing import Any

from simulator.apiserver.selectors import selector_text

Object = dict[str, Any]


def to_scale(thing: Object) -> Object:
    """Return the Scale of a Deployment or ReplicaSet."""
    metadata = thing["metadata"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            name: metadata[name]
            for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        },
        "spec": {"replicas": thing["spec"]["replicas"]},
        "status": {
            "replicas": (thing.get("status") or {}).get("replicas", 0),
            "selector": selector_text(thing["spec"]["selector"]),
        },
    }


def apply_scale(thing: Object, scale: Object) -> None:
    """Write a Scale's count into its object; its resourceVersion and uid are preconditions."""
    thing["spec"]["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
    for name in ("resourceVersion", "uid"):
        if value := (scale.get("metadata") or {}).get(name):
            thing["metadata"][name] = value
