# SPDX-License-Identifier: Apache-2.0
"""The scaler's own metrics (`gpu_scaler_*`); the gauges per Deployment are built at each scrape."""

from __future__ import annotations

from collections import Counter as Tally
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from scaler.budgets import IDLE_WORKLOADS
from scaler.model import TOTAL_METRICS
from scaler.reporting.idle_gpus import OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from scaler.decision.model import Decision
    from scaler.model import ObjectRef

LOOP_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
DEPLOYMENT_LABELS = ("namespace", "deployment", "kind")


class ScalerMetrics:
    """The scaler's metrics in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        gauge("gpu_scaler_build_info", "Version of the scaler", ["version"]).labels(version).set(1)
        self.loop_duration = histogram(
            "gpu_scaler_loop_duration_seconds",
            "Duration of a loop from its start to its last action",
            buckets=LOOP_BUCKETS_SECONDS,
        )
        self.stage_duration = histogram(
            "gpu_scaler_loop_stage_duration_seconds",
            "Duration of a stage of the loop: plan (annotations), read (values), decide, act",
            ["stage"],
            buckets=LOOP_BUCKETS_SECONDS,
        )
        self.last_loop = gauge(
            "gpu_scaler_last_loop_timestamp_seconds",
            "Unix time of the end of the last loop that made decisions",
        )
        self.loop_failures = counter(
            "gpu_scaler_loop_failures_total", "Loops that ended in an unexpected error"
        )
        self.leader = gauge(
            "gpu_scaler_leader", "1 if this replica is the leader and scales, else 0"
        )
        self.holding = gauge(
            "gpu_scaler_holding",
            "1 while the scaler holds all decisions because it cannot reach the Kubernetes API",
        )
        self._lost: Callable[[], Iterable[tuple[str, str]]] = tuple
        out_of_contact = partial(
            GaugeMetricFamily,
            "gpu_scaler_out_of_contact",
            "1 for each namespace and kind that the scaler holds because a watch has lost its "
            "connection; an empty label means all",
            labels=("namespace", "kind"),
        )
        self.registry.register(
            KeptCollector(out_of_contact, lambda: dict.fromkeys(self._lost(), 1.0))
        )
        self.stopped = gauge(
            "gpu_scaler_stopped",
            "1 while the annotation gpu-scaler/paused on the Lease stops all scaling",
        )
        self.decisions = counter("gpu_scaler_decisions_total", "Decisions by outcome", ["outcome"])
        self.held = counter(
            "gpu_scaler_held_total", "Decisions that held the replica count, by reason", ["reason"]
        )
        self.rescales = counter(
            "gpu_scaler_rescales_total", "Changes of replica counts, by direction", ["direction"]
        )
        self.patch_failures = counter(
            "gpu_scaler_patch_failures_total",
            "Failed changes of replica counts, by reason",
            ["reason"],
        )
        self.reads = counter(
            "gpu_scaler_source_reads_total",
            "Exporter scrapes and Prometheus queries, by result",
            ["result"],
        )
        self.client_errors = counter(
            "gpu_scaler_client_errors_total",
            "Requests that were not valid HTTP, or whose client disconnected before the answer",
        )
        self.web_config = gauge(
            "gpu_scaler_web_config_last_reload_successful",
            "1 if the web configuration file was valid when last read, or there is none",
        )
        self.web_config.set(1)
        self.source_age = gauge(
            "gpu_scaler_source_max_age_seconds",
            "Age of the oldest value that the last loop used, in seconds",
        )

    def show_answers(self, answers: Mapping[tuple[str, int], int]) -> None:
        """Publish the counts in `answers`: responses of the Kubernetes API by method and status."""
        family = partial(
            CounterMetricFamily,
            "gpu_scaler_api_requests",
            "Requests that the Kubernetes API answered; a watch counts once, at its start",
            labels=("method", "code"),
        )
        self.registry.register(
            KeptCollector(
                family,
                lambda: {
                    (method, str(status)): count for (method, status), count in answers.items()
                },
            )
        )

    def show_server_reads(self, results: Mapping[str, int]) -> None:
        """Publish the counts in `results`: reads of model servers by result."""
        family = partial(
            CounterMetricFamily,
            "gpu_scaler_server_reads",
            "Reads of model servers, by result",
            labels=("result",),
        )
        self.registry.register(
            KeptCollector(family, lambda: {(result,): count for result, count in results.items()})
        )

    def show_idle(self, seconds: Callable[[], Mapping[ObjectRef, float]]) -> None:
        """Publish `seconds()`: GPU-seconds idle by workload."""

        def labels(workload: ObjectRef) -> tuple[str, ...]:
            kind = "" if workload == OTHERS else workload.resource
            return workload.namespace, workload.name, kind

        family = partial(
            CounterMetricFamily,
            "gpu_scaler_idle_gpu_seconds",
            "Seconds in which GPUs that the workload's pods hold had a duty cycle of 0, added up"
            f" over its GPUs; the workload {OTHERS.name} stands for those beyond {IDLE_WORKLOADS}"
            " that have not opted in",
            labels=("namespace", "workload", "kind"),
        )
        self.registry.register(
            KeptCollector(
                family, lambda: {labels(workload): idle for workload, idle in seconds().items()}
            )
        )

    def show_lost(self, lost: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Publish the held namespaces and kinds that `lost()` returns; "" means all."""
        self._lost = lost

    def show_decisions(self, decisions: Callable[[], Collection[Decision]]) -> None:
        """Publish `decisions()` as gauges per Deployment."""
        self.registry.register(DecisionCollector(decisions))


class KeptCollector(Collector):
    """Publishes values that are kept elsewhere: `values()` returns them by the values of labels."""

    def __init__(
        self,
        new_family: Callable[[], CounterMetricFamily | GaugeMetricFamily],
        values: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self._new_family = new_family
        self._values = values

    def collect(self) -> Iterable[Family]:
        """Yield the family as it is now."""
        family = self._new_family()
        for labels, value in sorted(self._values().items()):
            family.add_metric(labels, value)
        return (family,)


class DecisionCollector(Collector):
    """Gauges per Deployment: replica counts, limits, values, targets and reasons."""

    def __init__(self, decisions: Callable[[], Collection[Decision]]) -> None:
        self._decisions = decisions

    def collect(self) -> Iterable[Family]:
        """Yield the families of the decisions as they are now."""

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, text, labels=(*DEPLOYMENT_LABELS, *labels))

        current = gauge("gpu_scaler_current_replicas", "Current spec.replicas")
        desired = gauge("gpu_scaler_desired_replicas", "Desired replicas")
        minimum = gauge("gpu_scaler_min_replicas", "Minimum of the replica count")
        maximum = gauge("gpu_scaler_max_replicas", "Maximum of the replica count")
        value = gauge(
            "gpu_scaler_metric_value", "Average value per pod, in the unit of the metric", "metric"
        )
        target = gauge(
            "gpu_scaler_metric_target", "Target value per pod, in the unit of the metric", "metric"
        )
        missing = gauge(
            "gpu_scaler_metric_missing_pods",
            "Serving pods without a usable value; while there is one, nothing scales down",
            "metric",
        )
        proposed = gauge(
            "gpu_scaler_proposed_replicas",
            "Replicas that the metrics propose before stabilization and limits; absent if unknown",
        )
        info = gauge(
            "gpu_scaler_decision_info",
            "1 for the outcome and reason of the last decision",
            "outcome",
            "reason",
        )
        outcomes = Tally[str]()
        for decision in self._decisions():
            names = (decision.ref.namespace, decision.ref.name, decision.ref.resource)
            outcomes[decision.outcome] += 1
            current.add_metric(names, decision.current_replicas)
            desired.add_metric(names, decision.desired_replicas)
            info.add_metric((*names, decision.outcome, decision.reason), 1)
            if decision.proposed is not None:
                proposed.add_metric(names, decision.proposed)
            if decision.policy is not None:
                minimum.add_metric(names, decision.policy.min_replicas)
                maximum.add_metric(names, decision.policy.max_replicas)
            for proposal in decision.proposals:
                labels = (*names, proposal.metric.value)
                if proposal.metric not in TOTAL_METRICS:
                    missing.add_metric(labels, proposal.missing_pods)
                if proposal.target_milli is not None:
                    target.add_metric(labels, proposal.target_milli / 1000)
                if proposal.mean_milli is not None:
                    value.add_metric(labels, proposal.mean_milli / 1000)
        by_outcome = GaugeMetricFamily(
            "gpu_scaler_deployments",
            "Opted-in Deployments, by outcome of the last decision",
            labels=("outcome",),
        )
        for outcome, count in sorted(outcomes.items()):
            by_outcome.add_metric((outcome,), count)
        per_target = (value, target, missing)
        return (current, desired, proposed, minimum, maximum, *per_target, info, by_outcome)
