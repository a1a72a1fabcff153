# SPDX-License-Identifier: Apache-2.0
"""Looks at all GPUs for the page "Idle GPUs": once for all viewers, and in short slices.

40,000 GPUs take a tenth of a second of CPU, however many viewers ask.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.web.gpu_map import Node
    from scaler.web.idle_gpus import IdleSurvey

FRESH_SECONDS: Final = 2.0
"""As often as nodes are read at most."""
KEPT_SECONDS: Final = 60.0
"""How long what was found is kept in memory after the last look."""


class IdleSurveys:
    """Keeps the newest survey for as long as viewers ask."""

    def __init__(
        self,
        nodes: Callable[[], Mapping[str, Node | None]],
        new_survey: Callable[[], IdleSurvey],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._new_survey = new_survey
        self._clock = clock
        self._turn = asyncio.Lock()
        self._newest: IdleSurvey | None = None
        self._begun_seconds = 0.0

    async def newest(self) -> IdleSurvey:
        """Return what was found within the last two seconds, or look now."""
        async with self._turn:
            now, found = self._clock(), self._newest
            if found is None or now - self._begun_seconds >= FRESH_SECONDS:
                found = self._new_survey()
                # Nodes may come and go between two slices.
                for _ in found.take(dict(self._nodes())):
                    await asyncio.sleep(0)
                self._newest, self._begun_seconds = found, now
                asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, found)
            return found

    def _forget(self, survey: IdleSurvey) -> None:
        if self._newest is survey:
            self._newest = None
