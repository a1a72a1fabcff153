# SPDX-License-Identifier: Apache-2.0
"""Pure: recordings without the names of whoever made them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from scaler.model import ObjectRef, ScalingPolicy
from scaler.policy.annotations import (
    ACTIVATION_THRESHOLD,
    BEHAVIOR,
    COOLDOWN,
    DRY_RUN,
    MAX_REPLICAS,
    MIN_REPLICAS,
    PAUSED,
    PRIORITY,
    READY_AGE,
    SCALE_DOWN_MAX_BUSY,
    SCALE_DOWN_PATIENCE,
    SCALE_DOWN_PODS,
    SCHEDULE,
    SERVER,
    TARGET_ANNOTATIONS,
    WINDOW,
)
from scaler.policy.parse import parse_policy
from scaler.policy.yaml_text import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.replay.model import Recording

KEPT: Final = frozenset(
    {
        *TARGET_ANNOTATIONS.values(),
        *(MIN_REPLICAS, MAX_REPLICAS, SCHEDULE, PRIORITY, ACTIVATION_THRESHOLD, COOLDOWN, WINDOW),
        *(BEHAVIOR, READY_AGE, SCALE_DOWN_PODS, SCALE_DOWN_MAX_BUSY, SCALE_DOWN_PATIENCE),
        *(SERVER, DRY_RUN, PAUSED),
    }
)
"""Annotations whose right values are numbers, times and words of ours. Others may name anything."""
WRONG: Final = "?"
_YAML: Final = (BEHAVIOR, SCHEDULE)
# Anyone may have these; another kind's group may be the domain of whoever made it.
_COMMON_KINDS: Final = frozenset(
    {
        "",
        "statefulsets.apps",
        "rollouts.argoproj.io",
        "leaderworkersets.leaderworkerset.x-k8s.io",
    }
)
_Key = TypeVar("_Key", str, ObjectRef)


def anonymized(recordings: Iterable[Recording]) -> tuple[Recording, ...]:
    """Return the recordings with names such as `namespace-1/deployment-1`.

    The same name becomes the same one everywhere. Numbers, times and GPU models stay. Notes may
    name pods, so that only their number stays. Of the annotations those stay that are `KEPT`, where
    they are right.
    """
    namespaces: dict[str, int] = {}
    workloads: dict[ObjectRef, int] = {}
    kinds: dict[str, int] = {}
    return tuple(
        replace(
            one,
            ref=ObjectRef(
                namespace=f"namespace-{_number(namespaces, one.ref.namespace)}",
                name=f"deployment-{_number(workloads, one.ref)}",
                kind=one.ref.kind
                if one.ref.kind in _COMMON_KINDS
                else f"workloads.kind-{_number(kinds, one.ref.kind)}",
            ),
            notes=_without_names(one.notes),
            annotations=_nameless(one.annotations),
        )
        for one in recordings
    )


def _nameless(annotations: Mapping[str, str]) -> dict[str, str]:
    return {name: _plain(name, text) for name, text in annotations.items() if name in KEPT}


def _plain(name: str, text: str) -> str:
    """Return an annotation's text without comments; a wrong one stays wrong."""
    if not _is_right(name, text):
        return WRONG
    return json.dumps(read_yaml(text)) if name in _YAML else text


def _is_right(name: str, text: str) -> bool:
    parsed = parse_policy({name: text}, query_supported=True)
    return isinstance(parsed, ScalingPolicy) or not any(
        one.is_form and one.annotation == name for one in parsed
    )


def _number(numbers: dict[_Key, int], key: _Key) -> int:
    return numbers.setdefault(key, len(numbers) + 1)


def _without_names(notes: tuple[str, ...]) -> tuple[str, ...]:
    count = len(notes)
    if not count:
        return ()
    return (f"{count} {'note' if count == 1 else 'notes'} left out, which may contain names.",)
