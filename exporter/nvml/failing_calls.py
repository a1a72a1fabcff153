# SPDX-License-Identifier: Apache-2.0
"""Logs failing GPUs, and failing calls about them: a line for the begin and one for the end."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from exporter.nvml.calls import DEVICE_GONE, SESSION_GONE
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from exporter.nvml.calls import CallOutcomes, NvmlError

log = logging.getLogger(__name__)

MAX_LOGGED: Final = 32
"""Failing calls, and GPUs, logged at a time; `nvidia_gpu_exporter_errors_total` counts all."""

_GONE: Final = DEVICE_GONE | SESSION_GONE


class FailingCalls:
    """Logs the calls that fail while their GPU is read, by GPU and function; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged = LogOnce(limit=MAX_LOGGED)

    def observe(self, uuid: str, answers: CallOutcomes) -> None:
        """Take over what the calls about a GPU answered in one cycle."""
        if not answers.failures and not self._logged.has_active:
            return
        for function, error in answers.failures.items():
            self.note(uuid, function, error)
        for function in answers.successes - answers.failures.keys():
            self.note(uuid, function, None)

    def note(self, uuid: str, function: str, error: NvmlError | None) -> None:
        """Take over one answer; the UUID is empty for a call that is about no GPU."""
        with self._lock:
            if error is None:
                if self._logged.ends((uuid, function)):
                    log.info(
                        "NVML call no longer fails", extra={"function": function, "uuid": uuid}
                    )
            elif error.code not in _GONE and self._logged.begins((uuid, function)):
                log.warning(
                    "NVML call fails; what it reads is absent until it succeeds",
                    extra={"function": function, "code": error.code, "uuid": uuid},
                )
