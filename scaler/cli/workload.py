# SPDX-License-Identifier: Apache-2.0
"""Pure: the ways to name a workload on the command line: kubectl's, and NAMESPACE/NAME."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from scaler.model import workload_ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import ObjectRef

_KINDS: Final[Mapping[str, str]] = {
    "deploy": "deployments.apps",
    "deployment": "deployments.apps",
    "deployments": "deployments.apps",
    "deployment.apps": "deployments.apps",
    "deployments.apps": "deployments.apps",
    "sts": "statefulsets.apps",
    "statefulset": "statefulsets.apps",
    "statefulsets": "statefulsets.apps",
    "statefulset.apps": "statefulsets.apps",
    "statefulsets.apps": "statefulsets.apps",
}
_WORKLOAD: Final = re.compile(r"(?:(?P<first>[^/\s]+)/)?(?P<name>[^/\s]+)")


class WorkloadName(NamedTuple):
    """A workload as a person names it; `namespace` is None if the text has none."""

    namespace: str | None
    kind: str
    name: str

    def ref(self, namespace: str) -> ObjectRef:
        """Return the workload, in `namespace` if its name has none."""
        return workload_ref(self.namespace or namespace, f"{self.kind}:{self.name}")


def parse_workload(text: str, *, namespace_given: bool = False) -> WorkloadName:
    """Return what `NAME`, `deploy/NAME`, `KIND.GROUP/NAME` or `NAMESPACE/NAME` names.

    With `namespace_given` (`-n`), the part before the slash is a kind. Otherwise it is one if it is
    a kind's name in kubectl, or has a dot, which no namespace has. Raises ValueError.
    """
    found = _WORKLOAD.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not NAMESPACE/NAME of a Deployment such as default/web, and not"
            " deploy/NAME or NAME with --namespace"
        )
    first, (of_name, _, name) = found["first"], found["name"].rpartition(":")
    if first is None:
        return WorkloadName(None, of_name or "deployments.apps", name)
    kind = _KINDS.get(first.lower())
    if kind is None and (namespace_given or "." in first):
        kind = first
    if kind is not None:
        return WorkloadName(None, kind, name)
    return WorkloadName(first, of_name or "deployments.apps", name)
