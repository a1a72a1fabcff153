# SPDX-License-Identifier: Apache-2.0
"""Where pods' model servers are, by the annotations of the Deployments that the scaler knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from scaler.model import NO_SERVER_SETTINGS
from scaler.policy.server_annotations import pod_server_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from scaler.model import DeploymentState, ServerSettings

    _Parsed: TypeAlias = tuple[Mapping[str, str], Mapping[str, str] | None, ServerSettings | None]


class PodSettings:
    """The settings of pods as of the last `refresh`."""

    def __init__(self, deployments: Callable[[], Iterable[DeploymentState]]) -> None:
        """`deployments` are those with the annotation `gpu-scaler/enabled`, whatever it says."""
        self._deployments = deployments
        self._parsed: dict[str, _Parsed] = {}
        self._by_pod: dict[str, ServerSettings | None] = {}

    def refresh(self, namespaces: Container[str]) -> None:
        """Look at the Deployments of these namespaces; what has not changed is not parsed again."""
        before, self._parsed, self._by_pod = self._parsed, {}, {}
        for one in self._deployments():
            if one.ref.namespace not in namespaces:
                continue
            known = before.get(one.uid)
            if known is None or known[:2] != (one.annotations, one.defaults):
                settings = pod_server_settings(one.annotations, one.defaults)
                known = (one.annotations, one.defaults, settings)
            self._parsed[one.uid] = known
            self._by_pod |= dict.fromkeys((pod.uid for pod in one.pods), known[2])

    def of(self, uid: str) -> ServerSettings | None:
        """Return a pod's settings, None if the annotations of its Deployment are wrong."""
        return self._by_pod.get(uid, NO_SERVER_SETTINGS)
