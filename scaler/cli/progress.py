# SPDX-License-Identifier: Apache-2.0
"""How far a long reading is, for people."""

from __future__ import annotations

import time
from typing import TextIO

QUIET_SECONDS = 2.0
"""Nothing is shown of what takes less."""
LINE_SECONDS = 15.0
"""Off a terminal, a line is written so often."""


class Progress:
    """Shows how far something is: in one line of a terminal, else in a line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun_seconds = self._shown_seconds = time.monotonic()
        self._width = 0

    def show(self, what: str, share: float) -> None:
        """Show what is done, and which share of it."""
        now = time.monotonic()
        wait = 0.2 if self._stream.isatty() else LINE_SECONDS
        if now - self._begun_seconds < QUIET_SECONDS or now - self._shown_seconds < wait:
            return
        self._shown_seconds = now
        text = f"{what}: {share:.0%}"
        if self._stream.isatty():
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the line from a terminal."""
        if self._width:
            self._stream.write(f"\r{'':<{self._width}}\r")
            self._stream.flush()
