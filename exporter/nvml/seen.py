# SPDX-License-Identifier: Apache-2.0
"""The GPUs of a session by their UUID: which of those that were read are lost.

A minor number is no identity: NVML has none under WSL2, and a GPU's place changes with the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.model import Device


class SeenGpus:
    """Remembers the GPUs that NVML could tell apart since it was opened."""

    def __init__(self) -> None:
        # The one that was seen last comes last.
        self._devices: dict[str, Device] = {}
        self._uuids: dict[int, str] = {}
        self._most = 0

    def clear(self) -> None:
        """Forget them all, for a new session."""
        self._devices.clear()
        self._uuids.clear()
        self._most = 0

    def see(self, index: int, device: Device) -> None:
        """Note that the GPU is at this place of NVML's now."""
        self._uuids[index] = device.uuid
        self._devices.pop(device.uuid, None)
        self._devices[device.uuid] = device

    def uuid_at(self, index: int) -> str:
        """Return the UUID of the GPU that was seen last at this place, empty if none was."""
        return self._uuids.get(index, "")

    def places_changed(self) -> None:
        """Forget which GPU is at which place."""
        self._uuids.clear()

    def lost(self, present: Collection[str], device_count: int) -> list[Device]:
        """Return those that are not `present` (UUIDs) any more.

        At most as many as are missing, the last seen ones: another GPU may have come in the place
        of one that was taken out.
        """
        self._most = max(self._most, device_count)
        missing = self._most - len(present)
        if missing <= 0:
            return []
        gone = [device for uuid, device in self._devices.items() if uuid not in present]
        return gone[max(len(gone) - missing, 0) :]
