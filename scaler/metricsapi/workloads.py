# SPDX-License-Identifier: Apache-2.0
"""The selectors of workloads' pods, from their scale subresources.

An HPA finds pods by the same, but of groups only leaders.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scaler.cluster.groups import GROUP_KINDS, of_whole_groups
from scaler.cluster.scales import decode_scale
from scaler.kube import fields
from scaler.kube.answer_cache import AnswerCache
from scaler.kube.errors import ApiError, NotFound
from scaler.model import ObjectRef
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from scaler.cluster.kinds import WorkloadKind
    from scaler.kube.client import KubeClient
    from scaler.kube.selectors import Selector

log = logging.getLogger(__name__)

KEPT_SECONDS = 30.0
MAX_KEPT = 10_000
MAX_LISTED = 100
"""Of one request with `*`: each needs a read of its own."""
MAX_CONCURRENT_READS = 8
CALL_TIMEOUT_SECONDS = 5.0
# What clients ask for becomes part of a path that is read with the scaler's permissions.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class TooManyWorkloads(ValueError):  # noqa: N818
    """More workloads match than one request may name."""


class WorkloadSelectors:
    """Reads scale subresources at the first request and keeps their selectors for 30 s."""

    def __init__(
        self,
        client: KubeClient,
        kinds: Iterable[WorkloadKind],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._kinds = {kind.name: kind for kind in kinds}
        self._known: AnswerCache[Selector | None] = AnswerCache(KEPT_SECONDS, MAX_KEPT, clock)
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._outages = {
            kind: OutageLog(log, "Cannot find the pods of workloads; their metrics have no values")
            for kind in self._kinds
        }

    async def named(self, kind: str, namespace: str, name: str) -> Mapping[str, Selector]:
        """Return the selector of a workload by its name; `kind` is as in `deployments.apps`.

        Empty if there is no such workload, or if it selects nothing or everything.

        Raises:
            ApiError: its scale cannot be read.
        """
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            return {}
        with self._logged(kind):
            selector = await self._selector(self._kinds[kind], namespace, name)
        return {} if selector is None else {name: selector}

    async def listed(self, kind: str, namespace: str, selector: Selector) -> Mapping[str, Selector]:
        """Return the selectors of the workloads whose own labels match, by name.

        Raises:
            ApiError: they cannot be listed, or a scale cannot be read.
            TooManyWorkloads: more than 100 match.
        """
        if not _NAME.fullmatch(namespace):
            return {}
        with self._logged(kind):
            found_kind = self._kinds[kind]
            page = await self._client.get(
                f"{found_kind.base}/namespaces/{namespace}/{found_kind.plural}",
                params={"limit": str(MAX_LISTED), "labelSelector": selector.text},
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
            if (page.get("metadata") or {}).get("continue"):
                raise TooManyWorkloads(
                    f"more than {MAX_LISTED} {kind} match; narrow the labelSelector"
                )
            names = [fields.text(one["metadata"], "name") for one in page.get("items") or ()]
            found = await asyncio.gather(
                *(self._selector(found_kind, namespace, name) for name in names)
            )
        return {name: one for name, one in zip(names, found, strict=True) if one is not None}

    @contextmanager
    def _logged(self, kind: str) -> Iterator[None]:
        """Log the first of several failures for a kind; they go on to the caller."""
        try:
            yield
        except ApiError as error:
            self._outages[kind].failed(error, kind=kind)
            raise
        self._outages[kind].worked()

    async def _selector(self, kind: WorkloadKind, namespace: str, name: str) -> Selector | None:
        path = kind.scale_path(ObjectRef(namespace, name))
        return await self._known.get(path, lambda: self._read(kind, path))

    async def _read(self, kind: WorkloadKind, path: str) -> Selector | None:
        async with self._limit:
            try:
                raw = await self._client.get(path, timeout_seconds=CALL_TIMEOUT_SECONDS)
                selector = decode_scale(raw).selector
            except NotFound:
                return None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                log.debug("Scale is malformed", extra={"path": path, "error": repr(error)[:200]})
                return None
        return of_whole_groups(selector) if kind.name in GROUP_KINDS else selector
