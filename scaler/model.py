# SPDX-License-Identifier: Apache-2.0
"""Pure: the data that every part of the scaler shares: policies, workloads, pods, readings.

Every instant named `*_seconds` without another word is on the monotonic clock of this process, so
that a jump of the wall clock neither ages nor refreshes anything. Metric values are integers in
milli units of the metric's unit, truncated as in the HorizontalPodAutoscaler. Unknown is `None`,
never 0. Decisions and the scaling history are in `scaler.decision.model`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in self.labels)
        series = f"{self.name}{{{labels}}}" if labels else self.name
        return f"rate({series})" if self.is_rate else series


def _escaped(label: str) -> str:
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


class ObjectRef(NamedTuple):
    """A namespaced object's name. A tuple, because it is the key of maps of thousands of pods.

    `kind` is the resource of a workload other than a Deployment, such as `statefulsets.apps`.
    """

    namespace: str
    name: str
    kind: str = ""

    @property
    def resource(self) -> str:
        """`statefulsets.apps` of a workload, and `deployments.apps` of a Deployment."""
        return self.kind or "deployments.apps"

    @property
    def qualified_name(self) -> str:
        """`web`, or `statefulsets.apps:web`: unique among the workloads of a namespace."""
        return f"{self.kind}:{self.name}" if self.kind else self.name

    @property
    def title(self) -> str:
        """`Deployment prod/web` for people, or `statefulsets.apps prod/web`, of a workload."""
        return f"{self.kind or 'Deployment'} {self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.qualified_name}"


def workload_ref(namespace: str, qualified_name: str) -> ObjectRef:
    """Return the workload that a person means by `web` or `statefulsets.apps:web`."""
    kind, _, name = qualified_name.rpartition(":")
    return ObjectRef(
        namespace=namespace, name=name, kind="" if kind == "deployments.apps" else kind
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the Kubernetes API."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ContainerPort(NamedTuple):
    """A port that a pod declares; the name is empty if it has none."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """What a pod declares about its ports. One object for all pods that declare the same.

    `scrape` are the values of the annotations `prometheus.io/port`, `path` and `scheme`.
    """

    ports: tuple[ContainerPort, ...] = ()
    host_network: bool = False
    scrape: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The names of the GPU resources that a pod requests, and its `nodeSelector`.

    One object for all pods that request the same. No resources where it requests no GPU.
    """

    resources: tuple[str, ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()


class PodPhase(StrEnum):
    """`status.phase` of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """A pod's place in a group of `size` pods that are one replica together.

    `group` names the group within its workload. The pod that `leads` answers for all of it.
    """

    group: str
    size: int
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """What a decision needs to know about one pod.

    `ready_since_seconds` is None unless the Ready condition is true now.
    `unschedulable_since_seconds` is None unless the scheduler says `Unschedulable` now;
    `unschedulable_message` is the scheduler's own text. `served_seconds` is how long it was Ready
    without a break before, None if unknown. `requests_gpu` is whether a container requests a GPU,
    None if unknown. `address` is the pod's IP, None if it has none yet. `gpu_request` is None where
    the resource is unknown, as with a resource claim. `replica_set` is the uid of the ReplicaSet
    that controls it. `deletion_cost` is its pod-deletion-cost, None without one;
    `marked` is whether gpu-scaler has set it, and not yet taken back.
    `member` is its place in a group that is one replica, None for a pod that is one by itself;
    `ready_since_seconds` is then that of the group.
    """

    ref: ObjectRef
    uid: str
    phase: PodPhase
    deleting: bool
    ready_since_seconds: float | None
    node_name: str | None = None
    unschedulable_since_seconds: float | None = None
    unschedulable_message: str | None = None
    served_seconds: float | None = None
    requests_gpu: bool | None = None
    address: str | None = None
    network: PodNetwork = PodNetwork()
    gpu_request: GpuRequest | None = None
    replica_set: str | None = None
    deletion_cost: int | None = None
    marked: bool = False
    member: GroupMember | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """One opted-in Deployment with the pods of its own ReplicaSets, as the watch shows them.

    `spec_replicas` is `spec.replicas` (the API server's default 1 filled in).
    `owned_by` names the HPA or ScaledObject that targets the Deployment too, e.g.
    `HorizontalPodAutoscaler default/web`, else None.
    `defaults` are the annotations of its Namespace, None where Namespaces are not watched.
    `pods_per_replica` is the number of pods in one replica, None if unknown.
    `out_of_contact` is why all of this may be out of date, None while the watches work.
    `gpu_request` is that of the pod template, None if unknown.
    """

    ref: ObjectRef
    uid: str
    annotations: Mapping[str, str]
    spec_replicas: int
    pods: tuple[PodState, ...]
    owned_by: str | None = None
    defaults: Mapping[str, str] | None = None
    pods_per_replica: int | None = None
    out_of_contact: str | None = None
    gpu_request: GpuRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterEndpoint:
    """The URL of a node's exporter, and its pod."""

    url: str
    pod: ObjectRef
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodValue:
    """One pod's value of one metric: the mean over its GPUs (the maximum for temperature).

    `sampled_seconds` is when the exporter took it; `device_count` how many GPUs it covers.
    """

    value_milli: int
    sampled_seconds: float
    device_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """What a source answered for one metric of one Deployment.

    The one value of a metric of `TOTAL_METRICS` is for the whole Deployment and keyed by its name;
    where `missing` has the name too, a part of it is unknown, and the value is at least that.
    `values` holds fresh finite values only; a pod without one is in `missing` with the reason
    ("exporter on node gpu-7 did not answer: timeout after 2 s").
    `problem` says why the whole reading cannot be trusted (source warnings, API error);
    nothing scales on it in any direction.
    `note` says how the values were found, such as which model server was recognised by what.
    """

    metric: Metric
    values: Mapping[ObjectRef, PodValue]
    missing: Mapping[ObjectRef, str] = field(default_factory=dict)
    problem: str | None = None
    note: str | None = None
