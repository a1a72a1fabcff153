"""Builds the response document of an authorized request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from scaler.kube.selectors import Selector, SelectorError, parse_selector
from scaler.metricsapi import documents
from scaler.metricsapi.documents import Item
from scaler.metricsapi.history import Target
from scaler.metricsapi.names import METRICS, Resource
from scaler.metricsapi.paths import (
    ANY,
    GroupListRequest,
    GroupRequest,
    ResourceListRequest,
    UnknownPath,
    ValueRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scaler.cluster.pod_cache import PodCache
    from scaler.metricsapi.history import TargetSeries
    from scaler.metricsapi.names import ServedMetric
    from scaler.metricsapi.paths import ApiRequest
    from scaler.metricsapi.target_reader import TargetReader

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
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
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
                return documents.resources(version)
            case ValueRequest():
                return await self._values(asked, query)
            case UnknownPath():
                return documents.no_such_path()

    async def _values(self, asked: ValueRequest, query: Mapping[str, str]) -> JsonObject:
        metric = METRICS.get(asked.metric)
        if metric is None or asked.resource not in metric.resources:
            return documents.no_such_metric(asked.resource, asked.metric)
        try:
            selector = parse_selector(query.get("labelSelector", ""))
            metric_selector = _metric_selector(query.get("metricLabelSelector", ""))
            _check_field_selector(asked, query.get("fieldSelector", ""))
        except SelectorError as error:
            return documents.bad_request(str(error))
        chosen = self._chosen(asked, selector)
        found = await self._reader.histories(
            [target._replace(family=metric.family) for target in chosen],
            over_time=metric.over_time,
        )
        items = list(self._items(found, chosen, metric, metric_selector))
        if items:
            return documents.value_list(asked, items, metric_selector)
        problem = next((one.problem for one in found.values() if one.problem), None)
        if problem is not None:
            log.debug("No value for a request", extra={"metric": metric.name, "error": problem})
            return documents.unable_to_fetch()
        if asked.name != ANY:
            return documents.no_such_metric(
                asked.resource, asked.metric, asked.name, metric_selector.text
            )
        return documents.value_list(asked, (), metric_selector)

    def _chosen(self, asked: ValueRequest, selector: Selector) -> Mapping[Target, float]:
        """Return the requested objects as targets without a family, and their creation times."""
        always = float("-inf")
        if asked.resource is Resource.NAMESPACES:
            # Keep no state for namespaces that do not exist.
            exists = bool(self._objects.pods(asked.name))
            return (
                {Target(Resource.NAMESPACES, asked.name, asked.name, ""): always} if exists else {}
            )
        if asked.resource is Resource.NODES:
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

    def _items(
        self,
        found: Mapping[Target, TargetSeries],
        chosen: Mapping[Target, float],
        metric: ServedMetric,
        metric_selector: Selector,
    ) -> Iterable[Item]:
        now, wall_now = self._clock(), self._wall_clock()
        for target, history in found.items():
            value = history.value(
                over_time=metric.over_time,
                now_seconds=now,
                since_seconds=chosen[target._replace(family="")],
                selects=lambda uuid: metric_selector.matches({METRIC_LABEL: uuid}),
            )
            if value is not None:
                yield Item(
                    name=target.name,
                    value_milli=value.value_milli,
                    sampled_unix_seconds=wall_now - (now - value.sampled_seconds),
                    window_seconds=value.window_seconds,
                )


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
