# SPDX-License-Identifier: Apache-2.0
"""What a container's process really is: its rights and its mounts, read from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FROM_RUNTIME: Final = {
    *("/", "/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"),
}
"""Mounts of every container, beside what lies below /dev, /proc and /sys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, by its number in our own PID namespace."""

    pid: int

    @property
    def root(self) -> Path:
        """Its file system, with its mounts, entered from outside."""
        return Path(f"/proc/{self.pid}/root")

    def status(self, field: str) -> str:
        """Return a field of /proc/PID/status, its words with single spaces."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return " ".join(fields[field].split())

    def environment(self) -> dict[str, str]:
        """Return the environment that it was started with."""
        words = Path(f"/proc/{self.pid}/environ").read_text().split("\0")
        return dict(word.split("=", 1) for word in words if word)

    def command(self) -> list[str]:
        """Return its command line."""
        return Path(f"/proc/{self.pid}/cmdline").read_text().split("\0")[:-1]

    def mounts(self) -> dict[str, str]:
        """Return mount point -> `ro` or `rw`, the newest of each point."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        words = [line.split() for line in lines]
        return {line[4]: line[5].split(",", 1)[0] for line in words}

    def added_mounts(self) -> dict[str, str]:
        """Return the mounts that not every container has."""
        return {
            point: access
            for point, access in self.mounts().items()
            if point not in FROM_RUNTIME and not point.startswith(("/dev/", "/proc/", "/sys/"))
        }
