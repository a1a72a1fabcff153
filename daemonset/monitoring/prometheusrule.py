# SPDX-License-Identifier: Apache-2.0
"""Pure: the rules as the object that the Prometheus operator reads."""

from __future__ import annotations

from typing import Any

import yaml


class _Lines(str):
    """A text of several lines, written as a block."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Lines,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"),
)


def prometheus_rule(rules: dict[str, Any]) -> str:
    """Return a PrometheusRule as YAML with the groups of a rule file."""
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "gpu-scaler",
            "labels": {"app.kubernetes.io/part-of": "gpu-scaler"},
        },
        "spec": _blocks(rules),
    }
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


def _blocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _blocks(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_blocks(one) for one in value]
    return _Lines(value) if isinstance(value, str) and "\n" in value else value
