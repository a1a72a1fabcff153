# SPDX-License-Identifier: Apache-2.0
"""The newest snapshot: each cycle's readings joined with the newest allocations."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.attribution.attribute import Holdings, attribute, is_claimed, is_fraction, remember
from exporter.model import AllocateMode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from exporter.model import Allocation, Readings, Snapshot

log = logging.getLogger(__name__)

# A plugin that shares by memory has an ID for each GiB or MiB.
MAX_LOGGED_IDS: Final = 10
# Recreated MIG instances have new IDs.
MAX_REMEMBERED_IDS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A snapshot that is not published yet; a later one has a higher number."""

    snapshot: Snapshot
    number: int


class Snapshots:
    """Replaces `newest` whenever readings or allocations change.

    Any thread may call `on_readings`; all else is for the event loop.
    """

    def __init__(self) -> None:
        self._newest: Snapshot | None = None
        self._readings: Readings | None = None
        self._joined_readings: Readings | None = None
        self._readings_count = 0
        # The numbers of the last snapshots that were joined and published.
        self._joined = self._published = 0
        self._holdings = Holdings()
        self._holdings_valid = True
        self._claimed_uuids: Mapping[str, str] = {}
        self._unmatched: tuple[str, ...] = ()
        # Devices that come and go with their pods are logged once only.
        self._logged_unmatched: set[str] = set()
        self._left_out_is_logged = False

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot, joined now if nobody has asked since its readings came."""
        self._join_pending()
        return self._newest

    @property
    def readings(self) -> Readings | None:
        """The readings that the newest snapshot has, or will have once somebody asks for it."""
        if self._readings is not self._joined_readings:
            return self._readings
        return None if self._newest is None else self._newest.readings

    def on_readings(self, readings: Readings) -> None:
        """Take over one cycle's readings; most cycles' are asked for by nobody."""
        self._readings_count += 1
        self._readings = readings

    def join(self, readings: Readings) -> Joined:
        """Join one cycle's readings, for whoever has something to do before they are published."""
        self.on_readings(readings)
        return self._attributed(readings)

    def publish(self, joined: Joined) -> None:
        """Make a snapshot the newest, unless one that was joined later is."""
        if joined.number > self._published:
            self._published = joined.number
            self._newest = joined.snapshot

    def on_allocations(self, allocations: Collection[Allocation]) -> None:
        """Take over one List answer."""
        holdings = remember(self._holdings, allocations)
        if holdings is self._holdings and self._holdings_valid:
            return
        self._holdings = holdings
        self._holdings_valid = True
        self._join()

    def on_allocations_expired(self) -> None:
        """Publish no pods until the next List answer.

        Who appeared when stays remembered, so that the end of an outage moves no GPU to a finished
        pod.
        """
        self._holdings_valid = False
        self._join()

    def on_claimed_uuids(self, uuids: Mapping[str, str]) -> None:
        """Take over the UUIDs of claimed devices by device ID."""
        if uuids != self._claimed_uuids:
            self._claimed_uuids = uuids
            self._join()

    def unmatched_device_ids(self) -> Collection[str]:
        """Return the device IDs of pods for which there is no GPU."""
        self._join_pending()
        return self._unmatched

    def holders(self) -> Collection[tuple[str, str]]:
        """Return the (namespace, pod) that hold GPUs."""
        if (newest := self.newest) is None:
            return ()
        return {
            (row.container.namespace_name, row.container.pod_name)
            for row in newest.rows
            if row.container is not None
        }

    def complete(self) -> bool:
        """Whether all that takes two cycles is measured, or had two cycles' time for it."""
        if self._readings is None or self._readings.awaits_second_sample:
            return False
        return self._readings_count > 1 or all(
            reading.duty_cycle_percent is not None for reading in self._readings.devices
        )

    def _join_pending(self) -> None:
        if self._readings is not self._joined_readings:
            self._join()

    def _join(self) -> None:
        if (readings := self._readings) is not None:
            self.publish(self._attributed(readings))

    def _attributed(self, readings: Readings) -> Joined:
        self._joined_readings = readings
        holdings = self._holdings if self._holdings_valid else Holdings()
        snapshot = attribute(readings, holdings, self._claimed_uuids)
        self._report_what_is_new(snapshot)
        self._joined += 1
        return Joined(snapshot=snapshot, number=self._joined)

    def _report_what_is_new(self, snapshot: Snapshot) -> None:
        self._unmatched = snapshot.unmatched_device_ids
        new = [one for one in self._unmatched if one not in self._logged_unmatched]
        if new:
            if len(self._logged_unmatched) > MAX_REMEMBERED_IDS:
                self._logged_unmatched.clear()
            self._logged_unmatched.update(new)
            log.warning(
                _why_unmatched(new),
                extra={"device_ids": ",".join(new[:MAX_LOGGED_IDS]), "devices": len(new)},
            )
        shared = {
            row.reading.device.uuid
            for row in snapshot.rows
            if row.allocate_mode is AllocateMode.SHARE
            and row.holder_count > 1
            and row.own_memory_used_bytes is None
        }
        if shared and not self._left_out_is_logged:
            self._left_out_is_logged = True
            log.info(
                "Several containers share a GPU; nvidia_gpu_memory_used_bytes is absent for them, "
                "because each container's own memory is unknown",
                extra={"gpus": len(shared)},
            )


def _why_unmatched(device_ids: Collection[str]) -> str:
    if any(is_claimed(one) for one in device_ids):
        return "Pods hold claimed devices (DRA) whose GPUs are not known; --dra looks them up"
    if any(is_fraction(one) for one in device_ids):
        return (
            "Pods hold fractions of GPUs that are not known; --collectors containers finds them "
            "by the pods' processes (needs hostPID)"
        )
    return "Pods hold devices that NVML does not show"
