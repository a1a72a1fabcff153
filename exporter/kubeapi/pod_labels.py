# SPDX-License-Identifier: Apache-2.0
"""Labels of the pods that hold GPUs, by an allow-list, as a family to join with.

They are a family of their own, as kube-state-metrics' `kube_pod_labels` is, and no labels of the
GPUs' series: a label that changes then does not end every series of the pod.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.metrics_core import GaugeMetricFamily

from exporter.kubeapi.client import METADATA_ONLY, KubeApiError
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from exporter.kubeapi.client import ApiClient

log = logging.getLogger(__name__)

FAMILY: Final = "nvidia_gpu_pod_labels"
MAX_LABELS: Final = 20
"""How many labels of a pod are published: the first ones by name."""
LOOK_SECONDS: Final = 1.0
RENEW_SECONDS: Final = 600.0
"""How soon a label that was changed on a running pod shows, at the latest."""
_FIRST_RETRY_SECONDS: Final = 2.0
_LAST_RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    labels: Mapping[str, str]
    due_seconds: float
    failures: int = 0


class PodLabels:
    """Asks for each pod that holds a GPU when it appears, and again now and then.

    `holders` returns the (namespace, pod) that hold GPUs now; `on_error` is called for each failed
    request.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        allowed: re.Pattern[str],
        node_name: str,
        holders: Callable[[], Collection[tuple[str, str]]],
        on_error: Callable[[str], None],
    ) -> None:
        self._client = client
        self._allowed = allowed
        self._node_name = node_name
        self._holders = holders
        self._on_error = on_error
        self._known: dict[tuple[str, str], _Known] = {}
        self._outage = OutageLog(
            log,
            "Cannot read pod labels; those of new pods are missing",
            "Pod labels can be read again",
        )

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self) -> None:
        """Ask for the pods that are due, and forget those that hold nothing any more."""
        holders = frozenset(self._holders())
        self._known = {pod: known for pod, known in self._known.items() if pod in holders}
        self._outage.keep(holders)
        now = time.monotonic()
        for pod in sorted(holders):
            known = self._known.get(pod)
            if known is None or now >= known.due_seconds:
                self._known[pod] = await self._ask(pod, known)

    async def _ask(self, pod: tuple[str, str], known: _Known | None) -> _Known:
        namespace, name = pod
        try:
            document = await self._client.get(
                f"/api/v1/namespaces/{namespace}/pods/{name}", accept=METADATA_ONLY
            )
            read = published_labels(document, self._allowed)
        except Exception as error:  # noqa: BLE001  (it is logged)
            # Beside ApiError whatever an answer brings about: the loop must outlive it. A pod that
            # is gone from the API is about to be gone from the kubelet's list.
            if not (isinstance(error, KubeApiError) and error.status == 404):
                self._failed(pod, error)
            failures = known.failures + 1 if known else 1
            wait = min(_FIRST_RETRY_SECONDS * 2.0**failures, _LAST_RETRY_SECONDS)
            labels = known.labels if known else {}
            return _Known(labels=labels, due_seconds=_later(wait), failures=min(failures, 10))
        self._outage.worked(party=pod)
        return _Known(labels=read, due_seconds=_later(RENEW_SECONDS))

    def _failed(self, pod: tuple[str, str], error: Exception) -> None:
        caught = None if isinstance(error, KubeApiError) else error
        self._outage.failed(error, party=pod, caught=caught)
        self._on_error("pods")

    def collect(self) -> Iterator[Metric]:
        """Yield the family (prometheus-client's collector interface)."""
        family = GaugeMetricFamily(
            FAMILY, "Labels of a pod that uses a GPU, as allowed by --pod-labels; always 1."
        )
        # An API server that does not answer must not keep those that are gone.
        holders = frozenset(self._holders())
        for (namespace, name), known in sorted(self._known.items()):
            if known.labels and (namespace, name) in holders:
                identity = {
                    "node_name": self._node_name,
                    "pod_name": name,
                    "namespace_name": namespace,
                }
                family.add_sample(FAMILY, {**identity, **known.labels}, 1)
        if family.samples:
            yield family


def published_labels(document: Any, allowed: re.Pattern[str]) -> dict[str, str]:
    """Return {`label_` and the sanitised name: value} of the allowed labels, `MAX_LABELS` at most.

    Of names that become the same the first one by name counts.
    """
    metadata = document.get("metadata") if isinstance(document, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict):
        return {}
    found: dict[str, str] = {}
    for name, value in sorted(labels.items()):
        if isinstance(value, str) and allowed.fullmatch(name) and len(found) < MAX_LABELS:
            found.setdefault("label_" + re.sub(r"[^a-zA-Z0-9_]", "_", name), value)
    return found


def _later(seconds: float) -> float:
    # The nodes of a cluster must not ask all at once.
    return time.monotonic() + seconds * random.uniform(0.5, 1.0)
