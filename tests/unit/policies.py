# SPDX-License-Identifier: Apache-2.0
"""Annotations that make a policy, and what is wrong with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.model import (
    AnnotationProblem,
    ScalingPolicy,
)
from scaler.policy.parse import parse_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/max-replicas": "10",
    "gpu-scaler/target-duty-cycle": "40",
}


def problems(
    changes: Mapping[str, str | None], *, query_supported: bool = True
) -> tuple[AnnotationProblem, ...]:
    """The problems of the good annotations with some changed (None: removed)."""
    changed = {f"gpu-scaler/{key}": value for key, value in changes.items()}
    annotations = {key: value for key, value in (GOOD | changed).items() if value is not None}
    parsed = parse_policy(annotations, query_supported=query_supported)
    return () if isinstance(parsed, ScalingPolicy) else parsed


def parsed(**changes: str) -> ScalingPolicy:
    renamed = {f"gpu-scaler/{key.replace('_', '-')}": value for key, value in changes.items()}
    result = parse_policy(GOOD | renamed, query_supported=True)
    assert isinstance(result, ScalingPolicy), result
    return result
