"""Pure: the HOST:PORT of a flag."""

from __future__ import annotations

import re


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
