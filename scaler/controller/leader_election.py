# SPDX-License-Identifier: Apache-2.0
"""What the loop needs to know about the Lease: whether this process may write."""

from __future__ import annotations

from typing import Protocol


class Leadership(Protocol):
    """Whether this process may write now: it holds the Lease, or needs none."""

    def is_leader(self, now_seconds: float) -> bool:
        """Return True while this process may write to the cluster."""

    def stop_reason(self) -> str | None:
        """Return why an operator stopped all scaling, as last seen, or None."""

    async def confirm(self) -> str | None:
        """Check again just before writing; return what is in the way, or None."""


class AlwaysLeader:
    """Leadership of a scaler that runs alone (`--no-leader-elect`)."""

    def is_leader(self, now_seconds: float) -> bool:
        """Return True."""
        return True

    def stop_reason(self) -> str | None:
        """Return None: there is no Lease to annotate."""
        return None

    async def confirm(self) -> str | None:
        """Return None."""
        return None
