# SPDX-License-Identifier: Apache-2.0
"""Pure: which container holds which device: readings x allocations -> rows.

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

Plugins that share by fractions (HAMi, Volcano, Aliyun) count by their IDs and choose the GPU
themselves, after the kubelet chose the IDs. So of several GPUs, or of one with MIG, such an ID
tells nothing: there the containers' processes do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.attribution.shares import shares, users
from exporter.exposition import families
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

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.attribution.shares import Share
    from exporter.model import DeviceReading

# GKE's device plugin: nvidia0, nvidia0/vgpu1, nvidia0/gi1, nvidia0/gi1/vgpu0.
# IDs come from outside: int() takes other scripts' digits too, and fails on thousands of them.
_GKE_ID: Final = re.compile(r"nvidia([0-9]{1,9})(?:/gi([0-9]{1,9}))?(/vgpu[0-9]+)?")
# Plugins that share by fractions: HAMi and Volcano GPU-<uuid>-3, Aliyun GPU-<uuid>-_-3.
_FRACTION_ID: Final = re.compile(r"(GPU(?:-[0-9a-fA-F]+){5})-(?:_-)?[0-9]+")
# Drivers before R470 had no UUIDs for MIG: MIG-GPU-<uuid>/<GPU instance>/<compute instance>.
_LEGACY_MIG_ID: Final = re.compile(r"MIG-(GPU-[^/]+)/([0-9]{1,9})/([0-9]{1,9})")


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


def is_claimed(device_id: str) -> bool:
    """Return whether an ID is that of a claimed device (DRA)."""
    return device_id.startswith(f"{DRA_DRIVER}/")


def is_fraction(device_id: str) -> bool:
    """Return whether an ID is that of a fraction, whose GPU the plugin chooses regardless of it."""
    return _FRACTION_ID.fullmatch(device_id) is not None


def attribute(
    readings: Readings, holdings: Holdings, claimed_uuids: Mapping[str, str] | None = None
) -> Snapshot:
    """Join one cycle's readings with the holdings; a device that nobody holds has one row too.

    `claimed_uuids` are the UUIDs of claimed devices by device ID.
    """
    finder = _DeviceFinder((one.device for one in readings.devices), claimed_uuids or {})
    is_chosen_by_plugin = readings.device_count > 1 or any(map(_is_divided, readings.devices))
    holders: defaultdict[str, set[Container]] = defaultdict(set)
    shared: set[str] = set()
    unmatched: set[str] = set()
    fractions: defaultdict[Container, set[str]] = defaultdict(set)
    for allocation in _current(holdings):
        if is_chosen_by_plugin and is_fraction(allocation.device_id):
            fractions[allocation.container].add(allocation.device_id)
            continue
        device = finder.find(allocation.device_id)
        if device is None:
            unmatched.add(allocation.device_id)
            continue
        holders[device.uuid].add(allocation.container)
        if _is_replica(allocation):
            shared.add(device.uuid)
    for uuid, found in _users(readings, fractions).items():
        holders[uuid] |= found
        shared.add(uuid)
    if fractions and not _all_uses_known(readings):
        for container in fractions.keys() - set().union(*holders.values()):
            unmatched |= fractions[container]
    rows: list[Row] = []
    for reading in readings.devices:
        containers = sorted(holders[reading.device.uuid])
        mode = _mode(reading.device, len(containers), replicas=reading.device.uuid in shared)
        own = shares(
            reading.uses,
            containers,
            # The driver reports no process times for MIG instances.
            has_duty_cycle=reading.duty_cycle_percent is not None
            and not reading.device.is_mig_instance,
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


def _users(readings: Readings, candidates: Collection[Container]) -> Mapping[str, set[Container]]:
    """Return those of the candidates that have a process on a device, by its UUID."""
    if not candidates:
        return {}
    found = {one.device.uuid: users(one.uses or (), candidates) for one in readings.devices}
    return {uuid: containers for uuid, containers in found.items() if containers}


def _is_divided(reading: DeviceReading) -> bool:
    """Whether this is a GPU with MIG, be it without an instance, or an instance."""
    return reading.has_mig or reading.device.is_mig_instance


def _all_uses_known(readings: Readings) -> bool:
    parents = {one.device.parent_uuid for one in readings.devices}
    return not readings.unreadable_count and all(
        one.uses is not None for one in readings.devices if one.device.uuid not in parents
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
        or is_fraction(allocation.device_id)
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
