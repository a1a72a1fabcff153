# SPDX-License-Identifier: Apache-2.0
"""Merge patches and strategic merge patches. Pure: new objects out, nothing edited.

The merge keys are those of the API types (`patchMergeKey` in the OpenAPI documents) for the
kinds served here, found by the name of the list.
"""

from __future__ import annotations

from typing import Any

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "secrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ownerReferences": "uid",
    "addresses": "type",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}
_DIRECTIVES = ("$patch", "$retainKeys")
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply an RFC 7386 merge patch: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge_patch(target: Any, patch: Any) -> Any:
    """Apply a strategic merge patch: as a merge patch, but keyed lists merge by element."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key in _DIRECTIVES or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            result[name] = [item for item in result.get(name) or () if item not in value]
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            order = patch.get(_ORDER + key)
            result[key] = _merge_list(key, result.get(key) or [], value, order)
        else:
            result[key] = strategic_merge_patch(result.get(key), value)
    return result


def _merge_key(name: str, items: list[Any]) -> str | None:
    if name == "ports":  # container ports and service ports share the name
        contained = any(isinstance(item, dict) and "containerPort" in item for item in items)
        return "containerPort" if contained else "port"
    return _MERGE_KEYS.get(name)


def _merge_list(name: str, target: list[Any], patch: list[Any], order: list[Any] | None) -> Any:
    key = _merge_key(name, [*target, *patch])
    if key is None or any(not isinstance(item, dict) for item in (*target, *patch)):
        return patch
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    merged = {item.get(key): item for item in target}
    for item in patch:
        identity = item.get(key)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = strategic_merge_patch(merged.get(identity), item)
    if order:
        rank = {item.get(key): position for position, item in enumerate(order)}
        return sorted(merged.values(), key=lambda item: rank.get(item.get(key), len(rank)))
    return list(merged.values())
