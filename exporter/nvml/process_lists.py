# SPDX-License-Identifier: Apache-2.0
"""Pure: whether a list of processes can be true.

A driver whose structure for a process is of another size than the binding's shifts all entries but
the first: a PID is then 0, 2^32-1 or the lower half of a size, and a size is a PID. Of such a list
no entry counts, since any of them may be another process's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PIDS: Final = range(1, 1 << 22)
"""What a process's ID can be on Linux: PID_MAX_LIMIT is 4 Mi."""
DeviceMemory = tuple[int | None, int | None]
"""Bytes that a device has, and that are in use; either may be unknown."""
_PAGE_BYTES: Final = 4096
"""Memory of a GPU is given away in pages of this size or a multiple of it; PIDs hardly ever are."""
_ANY_DEVICE_BYTES: Final = 1 << 50
_NOBODYS_BYTES: Final = 2 << 30
"""What the driver, and what ended processes leave behind, take at most of a device."""


def impossible_entry(
    entries: Iterable[tuple[int, int | None]], memory_total_bytes: int | None
) -> str | None:
    """Return why a list of (PID, bytes) of one device cannot be true, None if it can.

    The bytes of a process, and the device's, may be unknown.
    """
    most = min(memory_total_bytes or _ANY_DEVICE_BYTES, _ANY_DEVICE_BYTES)
    sizes = range(0, most + 1, _PAGE_BYTES)
    seen: dict[int, int | None] = {}
    for pid, used_bytes in entries:
        if pid not in PIDS:
            return f"{pid} is not the ID of a process"
        if used_bytes is not None and used_bytes not in sizes:
            return f"{used_bytes} is not the size of the memory of process {pid}"
        if seen.setdefault(pid, used_bytes) != used_bytes:
            return f"process {pid} stands there twice with different memory"
    return None


def are_hidden(pids: Collection[int], memory_used_bytes: int | None) -> bool:
    """Return whether NVML does not list the processes that use a device's memory."""
    return not pids and (memory_used_bytes or 0) > _NOBODYS_BYTES
