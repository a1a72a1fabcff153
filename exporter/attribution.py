"""Which container holds which device: readings x allocations -> rows; pure.

A device ID belongs to one container at a time, yet kubelets before 1.34 go on listing a finished
pod with its device after another pod got it. The rule: of the containers listed with one device ID,
the one that appeared last holds it, because the kubelet would not have given the ID away before its
former holder ended. Containers that appeared together (the exporter has just started) are told
apart by namespace, pod and container name, the first one holding. The order within the kubelet's
answer never counts, so nothing changes from scrape to scrape while the same pods are listed.

Claimed devices (DRA) may have several holders at a time by design, so that rule is not for them:
each container listed with one holds it.

Replica IDs (`GPU-...::0`, `GPU-...::1`) are IDs of their own, so the rule applies to each of them
and all containers of a shared GPU have their row.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter import families
from exporter.model import (
    DRA_DRIVER,
    AllocateMode,
    Allocation,
    Container,
    Device,
    Readings,
    Row,
    Snapshot,
)
from exporter.shares import shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.model import DeviceReading
    from exporter.shares import Share

# GKE's device plugin: nvidia0, nvidia0/vgpu1, nvidia0/gi1, nvidia0/gi1/vgpu0.
_GKE_ID: Final = re.compile(r"nvidia(\d+)(?:/gi(\d+))?(/vgpu\d+)?")
# Plugins that share by fractions: HAMi and Volcano GPU-<uuid>-3, Aliyun GPU-<uuid>-_-3.
_FRACTION_ID: Final = re.compile(r"(GPU(?:-[0-9a-fA-F]+){5})-(?:_-)?\d+")
# Drivers before R470 had no UUIDs for MIG: MIG-GPU-<uuid>/<GPU instance>/<compute instance>.
_LEGACY_MIG_ID: Final = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """The allocations listed last, each with the number of the List answer in which it appeared."""

    list_number: int = 0
    appeared: Mapping[Allocation, int] = field(default_factory=dict)


def remember(previous: Holdings, allocations: Iterable[Allocation]) -> Holdings:
    """Return the holdings after one more List answer; the same object if nothing changed."""
    number = previous.list_number + 1
    appeared = {one: previous.appeared.get(one, number) for one in allocations}
    if appeared.keys() == previous.appeared.keys():
        return previous
    return Holdings(list_number=number, appeared=appeared)


def attribute(
    readings: Readings, holdings: Holdings, claimed_uuids: Mapping[str, str] | None = None
) -> Snapshot:
    """Join one cycle's readings with the holdings; a device that nobody holds has one row too.

    `claimed_uuids` are the UUIDs of claimed devices by device ID.
    """
    finder = _DeviceFinder((one.device for one in readings.devices), claimed_uuids or {})
    holders: defaultdict[str, set[Container]] = defaultdict(set)
    shared: set[str] = set()
    unmatched: set[str] = set()
    for allocation in _current(holdings):
        device = finder.find(allocation.device_id)
        if device is None:
            unmatched.add(allocation.device_id)
            continue
        holders[device.uuid].add(allocation.container)
        if _is_replica(allocation):
            shared.add(device.uuid)
    rows: list[Row] = []
    for reading in readings.devices:
        containers = sorted(holders[reading.device.uuid])
        mode = _mode(reading.device, len(containers), replicas=reading.device.uuid in shared)
        own = shares(
            reading.uses, containers, has_duty_cycle=reading.duty_cycle_percent is not None
        )
        rows.extend(
            _row(reading, container, mode, len(containers), own.get(container))
            for container in containers
        )
        if not containers:
            rows.append(_row(reading, None, mode, 0, None))
    return Snapshot(
        readings=readings, rows=tuple(rows), unmatched_device_ids=tuple(sorted(unmatched))
    )


def _current(holdings: Holdings) -> Iterable[Allocation]:
    winners: dict[object, Allocation] = {}
    for allocation in sorted(holdings.appeared, key=lambda one: (-holdings.appeared[one], one)):
        is_claimed = allocation.resource_name == DRA_DRIVER
        winners.setdefault(allocation if is_claimed else allocation.device_id, allocation)
    return winners.values()


def _row(
    reading: DeviceReading,
    container: Container | None,
    mode: AllocateMode,
    holder_count: int,
    share: Share | None,
) -> Row:
    memory = None if share is None else share.memory_used_bytes
    percent = None if share is None else share.duty_cycle_percent
    samples = []
    if percent is not None:
        samples.append(families.CONTAINER_DUTY_CYCLE.sample(percent))
    if memory is not None:
        samples.append(families.CONTAINER_MEMORY_USED.sample(memory))
    return Row(
        reading=reading,
        container=container,
        allocate_mode=mode,
        holder_count=holder_count,
        own_memory_used_bytes=memory,
        extended=tuple(samples),
    )


def _mode(device: Device, container_count: int, *, replicas: bool) -> AllocateMode:
    if not container_count:
        return AllocateMode.FREE
    if device.is_mig_instance:
        return AllocateMode.MIG
    return AllocateMode.SHARE if replicas or container_count > 1 else AllocateMode.EXCLUSIVE


def _is_replica(allocation: Allocation) -> bool:
    gke = _GKE_ID.fullmatch(allocation.device_id)
    return (
        "::" in allocation.device_id
        or _FRACTION_ID.fullmatch(allocation.device_id) is not None
        or allocation.resource_name.endswith(".shared")
        or (gke is not None and gke[3] is not None)
    )


class _DeviceFinder:
    """Finds the device that an ID of the kubelet's list means."""

    def __init__(self, devices: Iterable[Device], claimed_uuids: Mapping[str, str]) -> None:
        self._claimed_uuids = claimed_uuids
        self._by_uuid: dict[str, Device] = {}
        self._by_minor_number: dict[int | None, Device] = {}
        self._instances: list[Device] = []
        for device in devices:
            self._by_uuid[device.uuid] = device
            if device.is_mig_instance:
                self._instances.append(device)
            else:
                self._by_minor_number[device.minor_number] = device

    def find(self, device_id: str) -> Device | None:
        if device_id in self._claimed_uuids:
            return self._by_uuid.get(self._claimed_uuids[device_id])
        plain_id = device_id.partition("::")[0]
        if plain_id in self._by_uuid:
            return self._by_uuid[plain_id]
        if fraction := _FRACTION_ID.fullmatch(plain_id):
            return self._by_uuid.get(fraction[1])
        if legacy := _LEGACY_MIG_ID.fullmatch(plain_id):
            return self._instance(legacy[1], int(legacy[2]), int(legacy[3]))
        if gke := _GKE_ID.fullmatch(plain_id):
            gpu = self._by_minor_number.get(int(gke[1]))
            if gpu is None or gke[2] is None:
                return gpu
            return self._instance(gpu.uuid, int(gke[2]), None)
        return None

    def _instance(
        self, parent_uuid: str, gpu_instance_id: int, compute_instance_id: int | None
    ) -> Device | None:
        for device in self._instances:
            if (device.parent_uuid, device.gpu_instance_id) == (parent_uuid, gpu_instance_id) and (
                compute_instance_id in (None, device.compute_instance_id)
            ):
                return device
        return None
