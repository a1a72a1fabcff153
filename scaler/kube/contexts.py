# SPDX-License-Identifier: Apache-2.0
"""The contexts of a kubeconfig, for messages and for the namespace of names without one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """The namespace of each context, None where it has none, and which one is the current one."""

    namespaces: Mapping[str, str | None]
    current: str | None


NO_CONTEXTS = Contexts(namespaces={}, current=None)


def kubeconfig_files(path: str | None) -> str:
    """Return what is read: `path`, else $KUBECONFIG, else ~/.kube/config; files joined by `:`."""
    # The library keeps the value of KUBECONFIG that it reads at import, so read it here.
    return path or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def read_contexts(path: str | None) -> Contexts:
    """Return the contexts; none where the file cannot be read, whose reader says why."""
    from kubernetes.aio.config.kube_config import list_kube_config_contexts  # noqa: PLC0415

    files = kubeconfig_files(path)
    try:
        if not any(Path(one).expanduser().is_file() for one in files.split(os.pathsep) if one):
            # The library would log a warning.
            return NO_CONTEXTS
        listed, current = list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=files
        )
        return Contexts(
            namespaces={
                str(one["name"]): (one.get("context") or {}).get("namespace") for one in listed
            },
            current=None if current is None else str(current["name"]),
        )
    except Exception:  # noqa: BLE001  (the library raises KeyError, TypeError, YAMLError and more)
        return NO_CONTEXTS


def namespace_of(path: str | None, context: str | None) -> str:
    """Return the namespace of a context, or of the current one; `default` without one."""
    contexts = read_contexts(path)
    return contexts.namespaces.get(context or contexts.current or "") or "default"
