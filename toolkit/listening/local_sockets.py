# SPDX-License-Identifier: Apache-2.0
"""Listening sockets that are no HOST:PORT: a path in the file system, or those that systemd opened.

systemd hands them over as sd_listen_fds(3) has it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from toolkit.cli.addresses import SYSTEMD, UNIX

_BACKLOG: Final = 128
_FIRST_FILE: Final = 3
_MOST_FILES: Final = 16
_PROBE_SECONDS: Final = 1.0


def is_local(host: str) -> bool:
    """Return whether a listening address is none of the network's."""
    return host == SYSTEMD or host.startswith(UNIX)


def local_sockets(host: str) -> list[socket.socket]:
    """Return the listening sockets of such an address; raises OSError."""
    return _inherited() if host == SYSTEMD else [_at(path_of(host))]


def path_of(host: str) -> Path:
    """Return the path of a unix: address."""
    return Path(host.removeprefix(UNIX))


def clean_up(host: str) -> None:
    """Remove what `local_sockets` made; a socket of systemd's stays systemd's."""
    if host.startswith(UNIX):
        path_of(host).unlink(missing_ok=True)


def name_of(bound: socket.socket) -> tuple[str, int]:
    """Return the host and port that a socket listens on, of a path without a port."""
    name = bound.getsockname()
    return (f"{UNIX}{name}", 0) if bound.family == socket.AF_UNIX else (name[0], name[1])


def _inherited() -> list[socket.socket]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise OSError("systemd passed no socket to this process: start it by a .socket unit")
    count = os.environ.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= _MOST_FILES:
        msg = f"LISTEN_FDS is {count[:20]!r}, not a number of sockets from 1 to {_MOST_FILES}"
        raise OSError(msg)
    sockets: list[socket.socket] = []
    try:
        for number in range(_FIRST_FILE, _FIRST_FILE + int(count)):
            sockets.append(socket.socket(fileno=number))
            os.set_inheritable(number, False)
            sockets[-1].setblocking(False)
            if not sockets[-1].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                msg = f"file {number} that systemd passed accepts no connections: set Accept=no"
                raise OSError(msg)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def _at(path: Path) -> socket.socket:
    _remove_if_dead(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _remove_if_dead(path: Path) -> None:
    """Remove a socket that its program left behind; of anything else binding says what it is."""
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_SECONDS)
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()
