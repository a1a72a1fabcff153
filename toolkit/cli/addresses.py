# SPDX-License-Identifier: Apache-2.0
"""Pure: the HOST:PORT of a flag, or what stands in its place."""

from __future__ import annotations

import re
from typing import Final

UNIX: Final = "unix:"
"""Before the path of a socket in the file system."""
SYSTEMD: Final = "systemd"
"""In place of an address: the sockets that systemd passes."""
# The room that the kernel has for it (unix(7)), without the zero at its end.
_LONGEST_PATH: Final = 107


def listen_address_text(host: str, port: int) -> str:
    """Return HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen_address(text: str) -> tuple[str, int] | None:
    """Return the host and the port of HOST:PORT, [IPv6]:PORT or :PORT; None if it is invalid.

    An empty host means all addresses of the machine.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]]*)):(\d{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > 65535:
        return None
    return match[1] or match[2] or "", int(match[3])


def parse_local_address(text: str) -> str | None:
    """Return a unix:/PATH or `systemd` as it is; None if it is neither."""
    path = text.removeprefix(UNIX)
    is_path = path != text and path.startswith("/") and path.isprintable()
    if text == SYSTEMD or (is_path and len(path.encode()) <= _LONGEST_PATH):
        return text
    return None
