# SPDX-License-Identifier: Apache-2.0
"""Builds the response document of an authorized request."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from scaler.cluster import groups
from scaler.kube.errors import ApiError
from scaler.kube.selectors import EVERYTHING, Selector, SelectorError, parse_selector
from scaler.metricsapi import documents
from scaler.metricsapi.documents import Item
from scaler.metricsapi.history import Target, over_pods
from scaler.metricsapi.names import SERVER_FAMILIES, Resource
from scaler.metricsapi.paths import (
    ANY,
    GroupListRequest,
    GroupRequest,
    ResourceListRequest,
    UnknownPath,
    ValueRequest,
)
from scaler.metricsapi.workloads import TooManyWorkloads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.cluster.pod_cache import CachedPod, PodCache
    from scaler.metricsapi.history import TargetSeries, Value
    from scaler.metricsapi.names import Catalog, ServedMetric
    from scaler.metricsapi.paths import ApiRequest
    from scaler.metricsapi.target_reader import TargetReader
    from scaler.metricsapi.workloads import WorkloadSelectors

    JsonObject: TypeAlias = dict[str, Any]

log = logging.getLogger(__name__)

METRIC_LABEL = "uuid"
"""The only label of the metrics."""


class Responder:
    """Responds with the values of the reader."""

    def __init__(
        self,
        *,
        reader: TargetReader,
        objects: PodCache,
        workloads: WorkloadSelectors,
        catalog: Catalog,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalog = catalog
        self._workloads = workloads
        self._reader = reader
        self._objects = objects
        self._clock = clock
        self._wall_clock = wall_clock

    async def answer(self, asked: ApiRequest, query: Mapping[str, str]) -> JsonObject:
        """Return the response document; a failure is a metav1.Status."""
        match asked:
            case GroupListRequest():
                return documents.groups()
            case GroupRequest():
                return documents.group()
            case ResourceListRequest(version=version):
                return documents.resources(version, self.catalog)
            case ValueRequest():
                return await self._values(asked, query)
            case UnknownPath():
                return documents.NO_SUCH_PATH

    async def _values(self, asked: ValueRequest, query: Mapping[str, str]) -> JsonObject:
        metric, kind = (
            self.catalog.metrics.get(asked.metric),
            self.catalog.kinds.get(asked.resource),
        )
        if metric is None or (kind is None and asked.resource not in metric.resources):
            return documents.no_such_metric(asked.resource, asked.metric)
        try:
            selector = parse_selector(query.get("labelSelector", ""))
            metric_selector = _metric_selector(query.get("metricLabelSelector", ""))
            _check_field_selector(asked, query.get("fieldSelector", ""))
            if kind is None:
                items, problem = await self._of_targets(asked, selector, metric, metric_selector)
            else:
                selectors = await self._selectors(asked, selector)
                items, problem = await self._of_workloads(asked, selectors, metric, metric_selector)
        except (SelectorError, TooManyWorkloads) as error:
            return documents.bad_request(str(error))
        except ApiError:
            return documents.UNABLE_TO_FETCH
        if items:
            return documents.value_list(asked, items, metric_selector, kind)
        if problem is not None:
            log.debug("No value for a request", extra={"metric": metric.name, "error": problem})
            return documents.UNABLE_TO_FETCH
        if asked.name != ANY:
            return documents.no_such_metric(
                asked.resource, asked.metric, asked.name, metric_selector.text
            )
        return documents.value_list(asked, (), metric_selector, kind)

    async def _of_targets(
        self, asked: ValueRequest, selector: Selector, metric: ServedMetric, uuids: Selector
    ) -> tuple[Sequence[Item], str | None]:
        """Return the values, and why one is missing."""
        chosen = self._chosen(asked, selector)
        found = await self._reader.histories(
            [target._replace(family=metric.family) for target in chosen],
            over_time=metric.over_time,
        )
        now = self._clock()
        items = [
            self._item(target.name, value, metric, now)
            for target, history in found.items()
            if (value := _value(history, metric, now, chosen[target._replace(family="")], uuids))
            is not None
        ]
        return items, next((one.problem for one in found.values() if one.problem), None)

    async def _selectors(self, asked: ValueRequest, selector: Selector) -> Mapping[str, Selector]:
        if asked.name == ANY:
            return await self._workloads.listed(asked.resource, asked.namespace, selector)
        return await self._workloads.named(asked.resource, asked.namespace, asked.name)

    async def _of_workloads(
        self,
        asked: ValueRequest,
        selectors: Mapping[str, Selector],
        metric: ServedMetric,
        uuids: Selector,
    ) -> tuple[Sequence[Item], str | None]:
        """Return the values, and why one is missing.

        A workload has none while a pod that runs has none: the others say nothing about it. A
        group of pods is one replica and has their mean, as a pod has the mean of its GPUs.
        """
        in_groups = asked.resource in groups.GROUP_KINDS
        only_leaders = in_groups and metric.family in SERVER_FAMILIES
        pods = {
            name: {
                Target(Resource.PODS, asked.namespace, pod.name, metric.family): pod
                for pod in self._objects.selected(asked.namespace, selector)
                if pod.serves and (not only_leaders or groups.is_leader(pod.labels))
            }
            for name, selector in selectors.items()
        }
        found = await self._reader.histories(
            {target for some in pods.values() for target in some}, over_time=metric.over_time
        )
        now = self._clock()
        items, problem = [], None
        for name, some in pods.items():
            values: defaultdict[str, list[Value]] = defaultdict(list)
            for target, pod in some.items():
                history = found.get(target)
                created = pod.created_seconds
                if history is None or _value(history, metric, now, created) is None:
                    if not _must_have(pod, metric):
                        continue
                    problem = problem or (None if history is None else history.problem)
                    break
                value = _value(history, metric, now, created, uuids)
                if value is not None:
                    group = groups.group_of(pod.labels) if in_groups else None
                    values[group or pod.name].append(value)
            else:
                if values:
                    replicas = [over_pods(some, is_sum=False) for some in values.values()]
                    value = over_pods(replicas, is_sum=metric.is_sum)
                    items.append(self._item(name, value, metric, now))
        return items, problem

    def _item(self, name: str, value: Value, metric: ServedMetric, now_seconds: float) -> Item:
        return Item(
            name=name,
            value_milli=math.ceil(round(value.value_milli / metric.divisor, 6)),
            sampled_unix_seconds=self._wall_clock() - (now_seconds - value.sampled_seconds),
            window_seconds=value.window_seconds,
        )

    def _chosen(self, asked: ValueRequest, selector: Selector) -> Mapping[Target, float]:
        """Return the requested objects as targets without a family, and their creation times."""
        always = float("-inf")
        if asked.resource == Resource.NAMESPACES:
            # Keep no state for namespaces that do not exist.
            exists = bool(self._objects.pods(asked.name))
            return (
                {Target(Resource.NAMESPACES, asked.name, asked.name, ""): always} if exists else {}
            )
        if asked.resource == Resource.NODES:
            return {
                Target(Resource.NODES, "", node.name, ""): always
                for node in self._objects.nodes()
                if (selector.matches(node.labels) if asked.name == ANY else node.name == asked.name)
            }
        if asked.name == ANY:
            pods = self._objects.selected(asked.namespace, selector)
        else:
            pod = self._objects.pod(asked.namespace, asked.name)
            pods = () if pod is None else (pod,)
        return {
            Target(Resource.PODS, pod.namespace, pod.name, ""): pod.created_seconds for pod in pods
        }


def _value(
    history: TargetSeries,
    metric: ServedMetric,
    now_seconds: float,
    since_seconds: float,
    uuids: Selector = EVERYTHING,
) -> Value | None:
    return history.value(
        over_time=metric.over_time,
        now_seconds=now_seconds,
        since_seconds=since_seconds,
        selects=lambda uuid: uuids.matches({METRIC_LABEL: uuid}),
    )


def _must_have(pod: CachedPod, metric: ServedMetric) -> bool:
    """Return whether a pod that runs must have a value of the metric."""
    return pod.asks_for_devices or metric.family in SERVER_FAMILIES


def _metric_selector(text: str) -> Selector:
    selector = parse_selector(text)
    for one in selector.requirements:
        if one.key != METRIC_LABEL:
            raise SelectorError(
                f"the metric selector uses the label {one.key!r}; metrics have only the label"
                f" {METRIC_LABEL!r}"
            )
    return selector


def _check_field_selector(asked: ValueRequest, text: str) -> None:
    """Accept, as in Kubernetes, only the name of the single requested object."""
    if not text:
        return
    field, _, value = text.replace("==", "=").partition("=")
    if field != "metadata.name" or asked.name in (ANY, "") or value != asked.name:
        raise SelectorError(
            f"fieldSelector {text[:200]!r} is not allowed; allowed is metadata.name={asked.name}"
            " for a single object"
        )
