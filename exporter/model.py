# SPDX-License-Identifier: Apache-2.0
"""Pure: the values that travel between the exporter's parts; unknown is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class Collector(StrEnum):
    """A group of extended families, as `--collectors` spells it."""

    INFO = "info"
    HEALTH = "health"
    CLOCKS = "clocks"
    THROTTLE = "throttle"
    POWER = "power"
    TEMPERATURE = "temperature"
    MEMORY = "memory"
    PERFORMANCE_STATE = "performance-state"
    MODES = "modes"
    MEMORY_BANDWIDTH = "memory-bandwidth"
    VIDEO = "video"
    PCIE = "pcie"
    NVLINK = "nvlink"
    FABRIC = "fabric"
    ECC = "ecc"
    XID = "xid"
    GPM = "gpm"
    CONTAINERS = "containers"
    PROCESSES = "processes"


class MetricType(StrEnum):
    """The type of a family, as the exposition formats spell it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"


class Scope(StrEnum):
    """What one series stands for: a device as one holder sees it, a device, or the node."""

    HOLDER = "holder"
    DEVICE = "device"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric family; `source` is the NVML function behind it.

    `name` is what a series is called, with the `_total` of a counter and the `_info` of an info
    family; `labels` are those beside the ones that `scope` gives. `collector` is None of a family
    that is always on.
    """

    name: str
    type: MetricType
    unit: str
    help: str
    collector: Collector | None
    source: str
    labels: tuple[str, ...] = ()
    scope: Scope = Scope.HOLDER

    @classmethod
    def gauge(
        cls,
        name: str,
        unit: str,
        text: str,
        *,
        of: Collector | None,
        source: str,
        labels: tuple[str, ...] = (),
    ) -> Family:
        """Return a gauge; `name` is without its prefix."""
        return cls(
            name=f"nvidia_gpu_{name}",
            type=MetricType.GAUGE,
            unit=unit,
            help=text,
            collector=of,
            source=source,
            labels=labels,
        )

    @classmethod
    def counter(
        cls,
        name: str,
        unit: str,
        text: str,
        *,
        of: Collector,
        source: str,
        labels: tuple[str, ...] = (),
    ) -> Family:
        """Return a counter; `name` is without its prefix and `_total`."""
        return cls(
            name=f"nvidia_gpu_{name}_total",
            type=MetricType.COUNTER,
            unit=unit,
            help=text,
            collector=of,
            source=source,
            labels=labels,
        )

    def sample(self, value: float, *labels: str) -> Sample:
        """Return one value of this family, with the values of its own labels."""
        return Sample(family=self, value=value, labels=labels)

    def known(
        self, value: float | None, *labels: str, times: float = 1, over: float = 1
    ) -> Iterator[Sample]:
        """Yield one value of this family, in other units; nothing of what is not known."""
        if value is not None:
            yield self.sample(value * times / over, *labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of an extended family; what is not known has no sample."""

    family: Family
    value: float
    labels: tuple[str, ...]


class AllocateMode(StrEnum):
    """How a device is held, as the label `allocate_mode` spells it."""

    FREE = ""
    EXCLUSIVE = "exclusive"
    SHARE = "share"
    MIG = "mig"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, or one MIG instance of a GPU.

    `minor_number` is the N of /dev/nvidiaN (an instance carries its parent's). `parent_uuid`,
    `gpu_instance_id` and `compute_instance_id` are set for MIG instances only.
    """

    uuid: str
    name: str
    minor_number: int | None
    parent_uuid: str | None = None
    gpu_instance_id: int | None = None
    compute_instance_id: int | None = None

    @property
    def is_mig_instance(self) -> bool:
        """Whether this is a slice of a GPU and not a GPU."""
        return self.parent_uuid is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOwner:
    """The pod that a process belongs to; `container_name` is None where it is unknown."""

    namespace_name: str
    pod_name: str
    container_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """What one process of a pod uses of one device; None is what NVML does not report."""

    owner: ProcessOwner
    memory_used_bytes: int | None
    duty_cycle_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """What NVML said about one device in one cycle; a failed or missing reading is None.

    `has_mig` tells whether the GPU is divided into MIG instances. `uses` are those of all processes
    of pods, None where not all of them are known.
    """

    device: Device
    has_mig: bool = False
    duty_cycle_percent: float | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    power_usage_milliwatts: int | None = None
    temperature_celsius: int | None = None
    fan_speed_percent: int | None = None
    extended: tuple[Sample, ...] = ()
    uses: tuple[ProcessUse, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableGpu:
    """A GPU that the driver shows and that cannot be read.

    `index` is its place in NVML's order, as nvidia-smi numbers it. `uuid` is empty where not
    even that can be read. `problem` names the NVML function, and its error or for how long it has
    not returned.
    """

    index: int
    uuid: str
    problem: str

    def __str__(self) -> str:
        """Return which GPU it is and why."""
        name = f"GPU {self.index} ({self.uuid})" if self.uuid else f"GPU {self.index}"
        return f"{name} cannot be read: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """One cycle's readings of all devices.

    `taken_at_seconds` is the monotonic clock at the START of the cycle, so that the age never
    flatters. `device_count` is the number of GPUs that the driver shows, lost ones included;
    `unreadable_count` of them cannot be read and have at most extended samples here; `unreadable`
    says which and why. `node` are the samples that belong to no device. `awaits_second_sample` says
    that what is measured between two cycles has no value yet.
    """

    taken_at_seconds: float
    device_count: int
    unreadable_count: int
    devices: tuple[DeviceReading, ...]
    node: tuple[Sample, ...] = ()
    unreadable: tuple[UnreadableGpu, ...] = ()
    awaits_second_sample: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Container:
    """A container of a pod, by its names (the pod-resources API knows no UIDs)."""

    namespace_name: str
    pod_name: str
    container_name: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Allocation:
    """One device ID that the kubelet says it gave to one container."""

    container: Container
    resource_name: str
    device_id: str


DRA_DRIVER: Final = "gpu.nvidia.com"
"""The driver of NVIDIA's GPUs under dynamic resource allocation, and so their resource's name."""


def claimed_device_id(pool: str, device: str) -> str:
    """Return the device ID of a claim's device; only a ResourceSlice says which GPU it is."""
    return f"{DRA_DRIVER}/{pool}/{device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One device as one holder sees it; `container` is None when no pod holds the device.

    `own_memory_used_bytes` is the container's part of the device's, None where it is not known;
    `extended` are samples of this holder alone.
    """

    reading: DeviceReading
    container: Container | None
    allocate_mode: AllocateMode
    holder_count: int
    own_memory_used_bytes: int | None = None
    extended: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one exposition of the GPUs needs; never changed after it was made."""

    readings: Readings
    rows: tuple[Row, ...]
    unmatched_device_ids: tuple[str, ...]
