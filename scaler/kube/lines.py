# SPDX-License-Identifier: Apache-2.0
"""Pure: the lines of a streamed response."""

from __future__ import annotations


class LineSplitter:
    """Splits chunks of any size into lines of any length."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.held_bytes = 0
        """The length of the line that has not ended yet."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the non-empty lines that `chunk` completes; keeps the rest for the next chunk."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            lines.append(b"".join((*self._parts, end)))
            self._parts.clear()
            self.held_bytes = 0
        if rest:
            self._parts.append(rest)
            self.held_bytes += len(rest)
        return [line for line in lines if line]
