# SPDX-License-Identifier: Apache-2.0
"""Objects as the API server sends them, for decoding."""

from __future__ import annotations

from typing import Any

from scaler.cluster.decode import (
    Instant,
    decode_pod,
)

# 2026-11-23T21:00:00Z is 1795467600.
NOW = Instant(wall_seconds=1795467600.0, monotonic_seconds=1000.0)


def slim(raw, previous, now) -> Any:
    return decode_pod(raw, previous, now)


def metadata(**more):
    return {"namespace": "ns", "name": "thing", "uid": "u1", "resourceVersion": "7", **more}


def owned_by(kind, uid="o1", *, controller=True):
    return [{"kind": kind, "name": "owner", "uid": uid, "controller": controller}]


def pod(*, conditions=(), labels=None, annotations=None, spec=None, **status):
    return {
        "metadata": metadata(
            ownerReferences=owned_by("ReplicaSet"),
            labels=labels or {},
            annotations=annotations or {},
        ),
        "spec": {"nodeName": "node-1", "containers": [{"name": "c"}], **(spec or {})},
        "status": {"phase": "Running", "conditions": list(conditions), **status},
    }


def ready(since="2026-11-23T20:59:00Z", status="True"):
    return {"type": "Ready", "status": status, "lastTransitionTime": since}
