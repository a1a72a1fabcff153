# SPDX-License-Identifier: Apache-2.0
"""Pure: the table of the annotations, from which the documentation is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.model import Metric
from scaler.readings.servers.table import SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "gpu-scaler/"
SERVER_NAMES = tuple(server.name for server in SERVERS)
ENABLED = f"{PREFIX}enabled"
MIN_REPLICAS = f"{PREFIX}min-replicas"
MAX_REPLICAS = f"{PREFIX}max-replicas"
SCHEDULE = f"{PREFIX}schedule"
PRIORITY = f"{PREFIX}priority"
QUERY = f"{PREFIX}query"
TARGET_QUERY = f"{PREFIX}target-query"
POD_METRIC = f"{PREFIX}pod-metric"
TARGET_POD_METRIC = f"{PREFIX}target-pod-metric"
SERVER = f"{PREFIX}server"
METRICS_PORT = f"{PREFIX}metrics-port"
METRICS_PATH = f"{PREFIX}metrics-path"
METRICS_SCHEME = f"{PREFIX}metrics-scheme"
QUEUE = f"{PREFIX}queue"
ACTIVATION_THRESHOLD = f"{PREFIX}activation-threshold"
COOLDOWN = f"{PREFIX}cooldown"
WINDOW = f"{PREFIX}window"
BEHAVIOR = f"{PREFIX}behavior"
READY_AGE = f"{PREFIX}ready-age"
SCALE_DOWN_PODS = f"{PREFIX}scale-down-pods"
SCALE_DOWN_MAX_BUSY = f"{PREFIX}scale-down-max-busy"
SCALE_DOWN_PATIENCE = f"{PREFIX}scale-down-patience"
DRY_RUN = f"{PREFIX}dry-run"
PAUSED = f"{PREFIX}paused"

TARGET_ANNOTATIONS: Mapping[Metric, str] = {
    Metric.DUTY_CYCLE: f"{PREFIX}target-duty-cycle",
    Metric.MEMORY_USED_PERCENT: f"{PREFIX}target-memory-used-percent",
    Metric.MEMORY_USED_BYTES: f"{PREFIX}target-memory-used-bytes",
    Metric.POWER_USAGE_MILLIWATTS: f"{PREFIX}target-power-usage-milliwatts",
    Metric.TEMPERATURE_CELSIUS: f"{PREFIX}target-temperature-celsius",
    Metric.QUERY: TARGET_QUERY,
    Metric.REQUESTS: f"{PREFIX}target-requests",
    Metric.REQUESTS_WAITING: f"{PREFIX}target-requests-waiting",
    Metric.KV_CACHE_PERCENT: f"{PREFIX}target-kv-cache-percent",
    Metric.POD_METRIC: TARGET_POD_METRIC,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One row of the annotations table; `default` is None if there is no default value."""

    name: str
    default: str | None = None
    meaning: str
    allowed: str


ANNOTATIONS: tuple[Annotation, ...] = (
    Annotation(
        name=ENABLED,
        meaning="opts the Deployment in; without it the scaler ignores the Deployment",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=MIN_REPLICAS,
        default="1",
        meaning="minimum replica count; 0 requires gpu-scaler/query or gpu-scaler/queue",
        allowed="a whole number from 0 to 2147483647",
    ),
    Annotation(
        name=MAX_REPLICAS,
        meaning="maximum replica count (required)",
        allowed="a whole number from 1 to 2147483647",
    ),
    Annotation(
        name=SCHEDULE,
        meaning="list of times of the week with a minimum and a maximum of their own; the narrowest"
        " that is in force wins",
        allowed="YAML or JSON of up to 16 entries with the fields days, from, to, timezone, min and"
        " max, up to 4096 bytes",
    ),
    Annotation(
        name=PRIORITY,
        default="0",
        meaning="while pods of this Deployment wait for a GPU, Deployments of a lower priority that"
        " request the same GPU resource do not grow",
        allowed="a whole number from -1000000000 to 1000000000",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.DUTY_CYCLE],
        meaning="target for the average duty cycle per pod, in percent",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_PERCENT],
        meaning="target for the average GPU memory in use per pod, in percent of the total",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_BYTES],
        meaning="target for the average GPU memory in use per pod and GPU, in bytes",
        allowed='a quantity above 0 and up to 1Pi, such as "20Gi"',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.POWER_USAGE_MILLIWATTS],
        meaning="target for the average board power per pod and GPU, in milliwatts",
        allowed='a number above 0 and up to 1G, such as "250000" for 250 W',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.TEMPERATURE_CELSIUS],
        meaning="target for the temperature of each pod's hottest GPU, averaged over the pods, in"
        " degrees Celsius",
        allowed="a number above 0 and up to 200",
    ),
    Annotation(
        name=QUERY,
        meaning="PromQL expression for the whole Deployment; requires --prometheus.url",
        allowed="up to 8192 characters, together with gpu-scaler/target-query",
    ),
    Annotation(
        name=TARGET_QUERY,
        meaning="target for the query value per pod",
        allowed="a quantity above 0 and up to 1P, together with gpu-scaler/query",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.REQUESTS],
        meaning="target for the requests in a pod's model server, running and waiting, averaged"
        " over the pods",
        allowed="a quantity above 0 and up to 1P",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.REQUESTS_WAITING],
        meaning="target for the requests that wait in a pod's model server, averaged over the pods",
        allowed="a quantity above 0 and up to 1P",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.KV_CACHE_PERCENT],
        meaning="target for the KV cache in use per pod, in percent",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=POD_METRIC,
        meaning="metric of each pod's own page, summed over its series; rate() of a counter is"
        " its increase per second",
        allowed='a metric such as name{label="x"} or rate(name_total), up to 512 characters,'
        " together with gpu-scaler/target-pod-metric",
    ),
    Annotation(
        name=TARGET_POD_METRIC,
        meaning="target for that metric, averaged over the pods",
        allowed="a quantity above 0 and up to 1P, together with gpu-scaler/pod-metric",
    ),
    Annotation(
        name=SERVER,
        default="auto",
        meaning="model server of the pods; auto recognises it by its metrics page",
        allowed=f"auto, {', '.join(SERVER_NAMES[:-1])} or {SERVER_NAMES[-1]}",
    ),
    Annotation(
        name=METRICS_PORT,
        meaning="port of the pods' metrics page (default: the container port named metrics or"
        " http-metrics, else the server's default port, else the port named http, else the only"
        " one)",
        allowed="a number from 1 to 65535 or the name of a container port",
    ),
    Annotation(
        name=METRICS_PATH,
        meaning="path of the pods' metrics page (default: the server's, such as /metrics)",
        allowed="a path that starts with /, up to 256 characters",
    ),
    Annotation(
        name=METRICS_SCHEME,
        meaning="scheme of the pods' metrics page (default: http)",
        allowed="http or https",
    ),
    Annotation(
        name=QUEUE,
        meaning="page of a Service in the same namespace, and the metrics on it that count the"
        " Deployment's requests, also while it has no pods; allows min-replicas 0",
        allowed="http://SERVICE:PORT/PATH, a space, and up to 8 metrics joined with +, such as"
        ' http://gateway:8000/metrics queued{model="m"} + running, up to 1024 characters',
    ),
    Annotation(
        name=ACTIVATION_THRESHOLD,
        default="0",
        meaning="with min-replicas 0: value of the query or the queue above which the scaler adds"
        " the first pod",
        allowed="a quantity from 0 to gpu-scaler/target-query, with a queue to"
        " gpu-scaler/target-requests",
    ),
    Annotation(
        name=COOLDOWN,
        default="5m",
        meaning="with min-replicas 0: idle time after which the scaler removes the last pod",
        allowed='a duration from 0s to 1h, such as "10m"',
    ),
    Annotation(
        name=WINDOW,
        default="0s",
        meaning="averaging window for values; 0s uses the latest value",
        allowed='a duration from 0s to 1h, such as "1m30s"',
    ),
    Annotation(
        name=BEHAVIOR,
        meaning="autoscaling/v2 HorizontalPodAutoscalerBehavior (default: that of the HPA)",
        allowed="YAML or JSON of up to 4096 bytes and 200 fields and values, no anchors or tags",
    ),
    Annotation(
        name=READY_AGE,
        default="30s",
        meaning="time for which a pod must be Ready before the scaler counts its values",
        allowed='a duration from 0s to 1h, such as "30s"',
    ),
    Annotation(
        name=SCALE_DOWN_PODS,
        default="any",
        meaning="pods that a scale-down removes: any, as the ReplicaSet chooses, or the idlest",
        allowed="any or idlest",
    ),
    Annotation(
        name=SCALE_DOWN_MAX_BUSY,
        meaning="duty cycle below which a pod without requests in hand counts as idle; a scale-down"
        " waits until it removes idle pods only",
        allowed='a percentage above 0% and up to 100%, such as "10%", together with'
        " gpu-scaler/scale-down-pods idlest",
    ),
    Annotation(
        name=SCALE_DOWN_PATIENCE,
        default="10m",
        meaning="time for which a scale-down waits for idle pods at most",
        allowed='a duration from 0s to 1h, such as "10m"',
    ),
    Annotation(
        name=DRY_RUN,
        default="false",
        meaning="decide and report, but do not change the replica count",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=PAUSED,
        default="false",
        meaning="neither decide nor change the replica count",
        allowed='"true" or "false"',
    ),
)


def target_annotation(metric: Metric) -> str:
    """Return the annotation that has the target of a metric; a queue shares that of requests."""
    return TARGET_ANNOTATIONS[Metric.REQUESTS if metric is Metric.QUEUE else metric]
