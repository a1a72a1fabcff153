# SPDX-License-Identifier: Apache-2.0
"""Pure: what a Deployment's annotations ask for: targets, limits, behavior, schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Metric(StrEnum):
    """The metric of a target; the value is the name that people see."""

    DUTY_CYCLE = "duty_cycle"
    MEMORY_USED_PERCENT = "memory_used_percent"
    MEMORY_USED_BYTES = "memory_used_bytes"
    POWER_USAGE_MILLIWATTS = "power_usage_milliwatts"
    TEMPERATURE_CELSIUS = "temperature_celsius"
    QUERY = "query"
    REQUESTS = "requests"
    REQUESTS_WAITING = "requests_waiting"
    KV_CACHE_PERCENT = "kv_cache_percent"
    POD_METRIC = "pod_metric"
    QUEUE = "queue"


SERVER_METRICS = frozenset(
    {Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT, Metric.POD_METRIC}
)
"""Metrics that each pod's model server publishes."""
TOTAL_METRICS = frozenset({Metric.QUERY, Metric.QUEUE})
"""Metrics with one value for the whole Deployment."""


class PolicyType(StrEnum):
    """`type` of one rate policy of an `autoscaling/v2` behavior."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """`selectPolicy` of an `autoscaling/v2` behavior: which of the rate policies applies."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePolicy:
    """At most `value` pods (or percent of the pods) may be added or removed in `period_seconds`."""

    type: PolicyType
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction of a HorizontalPodAutoscalerBehavior; `tolerance` is a ratio, 0.1 = 10 %."""

    stabilization_window_seconds: int
    select_policy: SelectPolicy
    tolerance: float
    policies: tuple[RatePolicy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """Both directions of a HorizontalPodAutoscalerBehavior, defaults filled in."""

    scale_up: ScalingRules
    scale_down: ScalingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTarget:
    """One target annotation: the wanted average value per pod.

    `average_value_milli` is in milli units of the metric (percent, bytes, milliwatts, celsius); it
    is None for a queue that only says whether any pod is needed.
    `query` is the PromQL expression where `metric` is `Metric.QUERY`, else None.
    """

    metric: Metric
    average_value_milli: int | None
    query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSelector:
    """Series of a Prometheus text page: a name, and labels that must have these values.

    `is_rate` asks for the increase per second of a counter, over two readings.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    is_rate: bool = False

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{escaped(value)}"' for name, value in self.labels)
        series = f"{self.name}{{{labels}}}" if labels else self.name
        return f"rate({series})" if self.is_rate else series


def escaped(label: str) -> str:
    """Return a label's value as it is between quotes on a page and in PromQL."""
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The model server of a Deployment's pods, as its annotations describe it.

    `server` is None to recognise it by its page. `port` is a port number or the name of a container
    port. Without a port, path or scheme, those that the pod declares count, else the server's own.
    """

    server: str | None = None
    port: str | None = None
    path: str | None = None
    scheme: str | None = None
    pod_metric: MetricSelector | None = None


NO_SERVER_SETTINGS = ServerSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The page of a Service in the Deployment's namespace; the value is the sum of `terms`.

    `port` is the number or the name of a port of the Service.
    """

    service: str
    port: str
    path: str
    terms: tuple[MetricSelector, ...]


class SettingOrigin(StrEnum):
    """Where the value of an annotation comes from; the first that has one wins."""

    OWN = "own"
    NAMESPACE = "namespace"
    BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An annotation's effective value and where it comes from."""

    annotation: str
    value: str
    origin: SettingOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """A time of the week with a range of its own; minutes are those of the day in `timezone`.

    It begins on `days`, where 0 is Monday, and ends on the next day unless `until_minute` is above
    `from_minute`. None is the minimum or maximum of the policy itself.
    """

    days: tuple[int, ...]
    from_minute: int
    until_minute: int
    timezone: str
    min_replicas: int | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledChange:
    """The next entry in force, as text (None where none is), and from when on."""

    at_unix_seconds: float
    at: str
    entry: str | None
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRange:
    """The entry in force as text, None where none is; `change` is None if none is in sight."""

    entry: str | None
    change: ScheduledChange | None


class ScaleDownPods(StrEnum):
    """Which pods a scale-down removes: any, as the ReplicaSet chooses, or those that work least."""

    ANY = "any"
    IDLEST = "idlest"


DEFAULT_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    """The policy of a Deployment's annotations (contract 2), defaults filled in.

    With `min_replicas` 0, the first replica starts when the query or the queue exceeds
    `activation_milli`, and the last one stops when neither has for `cooldown_seconds`. `settings`
    are the annotation texts; they do not count for equality. `scheduled` is set once the range is
    that of an instant, by `schedule`. With `scale_down_max_busy_milli`, in milli percent, a
    scale-down waits for pods below it for up to `scale_down_patience_seconds`.
    """

    min_replicas: int
    max_replicas: int
    targets: tuple[MetricTarget, ...]
    window_seconds: float
    behavior: Behavior
    ready_age_seconds: float
    dry_run: bool
    paused: bool
    activation_milli: int = 0
    cooldown_seconds: float = 0.0
    server: ServerSettings = NO_SERVER_SETTINGS
    queue: Queue | None = None
    schedule: tuple[ScheduleEntry, ...] = ()
    scheduled: ScheduledRange | None = None
    priority: int = 0
    scale_down_pods: ScaleDownPods = ScaleDownPods.ANY
    scale_down_max_busy_milli: int | None = None
    scale_down_patience_seconds: float = DEFAULT_PATIENCE_SECONDS
    settings: tuple[Setting, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationProblem:
    """One wrong annotation: its name, its value (None if absent), and what is allowed.

    `namespace` is the Namespace that sets it as a default, None for the Deployment's own.
    `is_form` is True where the text itself is wrong, whatever the other annotations are.
    `stands_for` is the number of further problems that are counted and not named, usually 0.
    """

    annotation: str
    value: str | None
    message: str
    namespace: str | None = None
    is_form: bool = False
    stands_for: int = 0
