"""Pure: the table of the annotations, as contract and documentation have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.model import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "gpu-scaler/"
ENABLED = f"{PREFIX}enabled"
MIN_REPLICAS = f"{PREFIX}min-replicas"
MAX_REPLICAS = f"{PREFIX}max-replicas"
QUERY = f"{PREFIX}query"
TARGET_QUERY = f"{PREFIX}target-query"
ACTIVATION_THRESHOLD = f"{PREFIX}activation-threshold"
COOLDOWN = f"{PREFIX}cooldown"
WINDOW = f"{PREFIX}window"
BEHAVIOR = f"{PREFIX}behavior"
READY_AGE = f"{PREFIX}ready-age"
DRY_RUN = f"{PREFIX}dry-run"
PAUSED = f"{PREFIX}paused"

TARGET_ANNOTATIONS: Mapping[Metric, str] = {
    Metric.DUTY_CYCLE: f"{PREFIX}target-duty-cycle",
    Metric.MEMORY_USED_PERCENT: f"{PREFIX}target-memory-used-percent",
    Metric.MEMORY_USED_BYTES: f"{PREFIX}target-memory-used-bytes",
    Metric.POWER_USAGE_MILLIWATTS: f"{PREFIX}target-power-usage-milliwatts",
    Metric.TEMPERATURE_CELSIUS: f"{PREFIX}target-temperature-celsius",
    Metric.QUERY: TARGET_QUERY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One row of the annotations table; `default` is None where absence has no value."""

    name: str
    default: str | None
    meaning: str
    allowed: str


ANNOTATIONS: tuple[Annotation, ...] = (
    Annotation(
        name=ENABLED,
        default=None,
        meaning="opts the Deployment in; without it the scaler leaves the Deployment alone",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=MIN_REPLICAS,
        default="1",
        meaning="floor of the replica count; 0 needs gpu-scaler/query",
        allowed="a whole number from 0 to 2147483647",
    ),
    Annotation(
        name=MAX_REPLICAS,
        default=None,
        meaning="ceiling of the replica count; required",
        allowed="a whole number from 1 to 2147483647",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.DUTY_CYCLE],
        default=None,
        meaning="average duty cycle per pod in percent",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_PERCENT],
        default=None,
        meaning="average GPU memory in use per pod in percent of the total",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_BYTES],
        default=None,
        meaning="average GPU memory in use per pod and GPU in bytes",
        allowed='a quantity above 0 and up to 1Pi, such as "20Gi"',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.POWER_USAGE_MILLIWATTS],
        default=None,
        meaning="average board power per pod and GPU in milliwatts",
        allowed='a number above 0 and up to 1G, such as "250000" for 250 W',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.TEMPERATURE_CELSIUS],
        default=None,
        meaning="average over the pods of each pod's hottest GPU in degrees Celsius",
        allowed="a number above 0 and up to 200",
    ),
    Annotation(
        name=QUERY,
        default=None,
        meaning="a PromQL expression for the whole Deployment; needs --prometheus.url",
        allowed="up to 8192 characters, together with gpu-scaler/target-query",
    ),
    Annotation(
        name=TARGET_QUERY,
        default=None,
        meaning="query value per pod",
        allowed="a quantity above 0 and up to 1P, together with gpu-scaler/query",
    ),
    Annotation(
        name=ACTIVATION_THRESHOLD,
        default="0",
        meaning="with min-replicas 0: the first pod comes when the query's value is above this",
        allowed="a quantity from 0 to gpu-scaler/target-query",
    ),
    Annotation(
        name=COOLDOWN,
        default="5m",
        meaning="with min-replicas 0: the last pod goes when none was asked for over this time",
        allowed='a duration from 0s to 1h, such as "10m"',
    ),
    Annotation(
        name=WINDOW,
        default="0s",
        meaning="values are averaged over this; 0s takes the latest",
        allowed='a duration from 0s to 1h, such as "1m30s"',
    ),
    Annotation(
        name=BEHAVIOR,
        default=None,
        meaning="an autoscaling/v2 HorizontalPodAutoscalerBehavior; the HPA's defaults without it",
        allowed="YAML or JSON of up to 4096 bytes and 200 fields and values, no anchors or tags",
    ),
    Annotation(
        name=READY_AGE,
        default="30s",
        meaning="a pod counts as ready only after being Ready for this long",
        allowed='a duration from 0s to 1h, such as "30s"',
    ),
    Annotation(
        name=DRY_RUN,
        default="false",
        meaning="decide and report, change nothing",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=PAUSED,
        default="false",
        meaning="read and change nothing",
        allowed='"true" or "false"',
    ),
)
