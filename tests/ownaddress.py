# SPDX-License-Identifier: Apache-2.0
"""The address at which others reach this machine."""

from __future__ import annotations

import socket


def own_address() -> str | None:
    """Return this machine's address towards others, None if it has only loopback; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
