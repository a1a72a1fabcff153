"""Whether this process may act: what the loop needs to know of the Lease."""

from __future__ import annotations

from typing import Protocol


class Leadership(Protocol):
    """Whether this process may act now: a lease, or the lone scaler that needs none."""

    def is_leader(self, now_seconds: float) -> bool:
        """Return True while this process may write to the cluster."""

    def stopped_because(self) -> str | None:
        """Return why a person wants nothing scaled at all, as last seen."""

    async def look(self) -> str | None:
        """Look anew just before acting; return what is in the way, None if nothing is."""


class AlwaysLeader:
    """The leadership of a scaler that runs alone (`--no-leader-elect`)."""

    def is_leader(self, now_seconds: float) -> bool:
        """Return True."""
        return True

    def stopped_because(self) -> str | None:
        """Return None: there is no Lease to annotate."""
        return None

    async def look(self) -> str | None:
        """Return None."""
        return None
