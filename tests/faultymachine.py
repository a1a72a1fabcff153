# SPDX-License-Identifier: Apache-2.0
"""The scaler's program on a machine that something is wrong with, for `running_scaler`."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import ScalerProcess

HOST = "kubernetes.invalid"
"""A name that only `with_names` resolves, to this machine."""

_MAIN = """
import sys
from scaler.__main__ import main
sys.exit(main())
"""
DISK_FULL = """
import os, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
"""
"""Run before a program: no file can grow, and nothing can be written to stdout and stderr."""
_WALL_CLOCK = """
import datetime, time
right = time.time
def wrong():
    with open({path!r}) as file:
        return right() + float(file.read())
class Wrong(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(wrong(), tz)
time.time, datetime.datetime = wrong, Wrong
"""
_NAMES = """
import os, socket
resolve = socket.getaddrinfo
def resolve_here(host, *arguments, **options):
    if host == {host!r}:
        if os.path.exists({path!r}):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = "127.0.0.1"
    return resolve(host, *arguments, **options)
socket.getaddrinfo = resolve_here
"""


def with_full_disk() -> tuple[str, str]:
    """No file can grow, and all that is logged is lost."""
    return "-c", DISK_FULL + _MAIN


def with_wall_clock(ahead: Path) -> tuple[str, str]:
    """The wall clock is ahead by the seconds that the file `ahead` says now."""
    return "-c", _WALL_CLOCK.format(path=str(ahead)) + _MAIN


def with_names(gone: Path) -> tuple[str, str]:
    """HOST is this machine, and no name at all while there is a file `gone`."""
    return "-c", _NAMES.format(host=HOST, path=str(gone)) + _MAIN


def take_memory(scaler: ScalerProcess) -> None:
    """Let the process have no more memory than it has now."""
    _limit_memory(scaler, 1)


def give_memory(scaler: ScalerProcess) -> None:
    """Let the process have memory again."""
    _limit_memory(scaler, resource.RLIM_INFINITY)


def _limit_memory(scaler: ScalerProcess, most_bytes: int) -> None:
    kind = resource.RLIMIT_AS
    _, hard = resource.prlimit(scaler.process.pid, kind)
    soft = hard if most_bytes == resource.RLIM_INFINITY else most_bytes
    resource.prlimit(scaler.process.pid, kind, (soft, hard))
