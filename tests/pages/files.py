# SPDX-License-Identifier: Apache-2.0
"""The YAML blocks of the pages: what each is a file of, so that it can be tried as such."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import yaml

from scaler.policy.annotations import ENABLED, MAX_REPLICAS, PREFIX
from tests.pages.markdown import ROOT

if TYPE_CHECKING:
    from tests.pages.markdown import Block

CHART: Final = ROOT / "daemonset" / "chart"
NEEDED: Final = {ENABLED: "true", MAX_REPLICAS: "10"}
"""What a Deployment has beside the annotations that a sentence is about."""
WEB_CONFIG_KEYS: Final = {"tls_server_config", "http_server_config", "basic_auth_users"}


class FileKind(StrEnum):
    """What a block is a file of."""

    OBJECTS = "objects of the Kubernetes API, or rules of a role"
    ANNOTATIONS = "the metadata of a Deployment, or some of its annotations"
    PATCH = "a patch of the exporter's DaemonSet"
    WEB_CONFIG = "the exporter's web configuration"
    PROMETHEUS = "a part of Prometheus' configuration"
    RULES = "rules of Prometheus"
    VALUES = "values of the chart"


def documents(block: Block) -> list[dict[str, Any]]:
    """Return what is in a block; rules of a role as the role that has them."""
    found = [one for one in yaml.safe_load_all(block.text) if one is not None]
    if len(found) == 1 and isinstance(found[0], list):
        return [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "tried"},
                "rules": found[0],
            }
        ]
    return found


def kind_of(block: Block) -> FileKind:
    """Return what a block is a file of; raises AssertionError for what nobody knows how to try."""
    found = documents(block)
    assert found, f"{block.where} is empty"
    assert all(isinstance(one, dict) for one in found), f"{block.where} is no object"
    keys = {key for one in found for key in one}
    if all({"apiVersion", "kind"} <= one.keys() for one in found):
        return FileKind.OBJECTS
    if keys == {"metadata"} or all(key.startswith(PREFIX) for key in keys):
        return FileKind.ANNOTATIONS
    if keys == {"spec"}:
        return FileKind.PATCH
    if keys <= WEB_CONFIG_KEYS:
        return FileKind.WEB_CONFIG
    if keys <= {"scrape_configs", "rule_files", "scrape_config_files"}:
        return FileKind.PROMETHEUS
    if keys == {"groups"}:
        return FileKind.RULES
    assert keys <= _values(), f"{block.where}: nobody knows how to try this: {sorted(keys)}"
    return FileKind.VALUES


def deployment(block: Block) -> dict[str, Any]:
    """Return a whole Deployment with the metadata, or only the annotations, of a block."""
    (found,) = documents(block)
    metadata = found.get("metadata", {"annotations": {**NEEDED, **found}})
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": "example.com/web:1",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", **metadata},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        },
    }


def _values() -> set[str]:
    file = CHART / "values.yaml"
    return set(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.is_file() else set()
